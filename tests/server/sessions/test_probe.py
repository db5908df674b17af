"""A probe tries what streams use, and spares what takes long."""

from pathlib import Path

import numpy as np
import pytest

from server.sessions.jobs import Offer
from server.sessions.probe import Probe
from server.triton.contract import NETWORKS, SERVED, Variant
from server.triton.engine import Engine
from tests.support.fake_engine import FakeEngine
from tests.support.pipeline_reference import Recorder
from tests.support.serving import manifest, small_windows, tokenizer


def probe_of(folder: Path, engine: Engine, variant: Variant) -> Probe:
    return Probe(engine, tokenizer(folder), Offer(small_windows(), manifest(variant)))


@pytest.mark.parametrize("variant", ["flash", "preview"])
async def test_a_probe_runs_the_networks_that_it_is_to_try(
    tmp_path: Path, variant: Variant
) -> None:
    engine = FakeEngine()
    probe = probe_of(tmp_path, engine, variant)
    every = set(NETWORKS[variant])
    for tried in (every, every - {"text_encoder"}, every, *({name} for name in every)):
        engine.executions.clear()
        await probe.run(tried)
        assert set(engine.executions) == tried


async def test_what_a_repository_has_besides_is_tried_too(tmp_path: Path) -> None:
    engine = FakeEngine()
    offer = Offer(small_windows(), manifest("flash", meshes=True, light_decoder=True))
    probe = Probe(engine, tokenizer(tmp_path), offer)
    await probe.run(set(SERVED["flash"]))
    assert set(engine.executions) == set(SERVED["flash"])
    engine.executions.clear()
    await probe.run({"eye_mesh"})
    assert "eye_mesh" in engine.executions
    assert not {"face_mesh", "vae_decoder_light"} & set(engine.executions)


async def test_what_is_tried_is_new_each_time(tmp_path: Path) -> None:
    recorder = Recorder(FakeEngine())
    probe = probe_of(tmp_path, recorder, "flash")
    for _ in range(2):
        await probe.run({"image_encoder"})
    first, second = recorder.given("image_encoder", "image")
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("variant", "texts"), [("flash", 1), ("preview", 2)])
async def test_only_preview_needs_a_negative_prompt(
    tmp_path: Path, variant: Variant, texts: int
) -> None:
    engine = FakeEngine()
    await probe_of(tmp_path, engine, variant).run(set(NETWORKS[variant]))
    assert engine.executions.count("text_encoder") == texts


async def test_a_network_that_never_ran_is_not_spared(tmp_path: Path) -> None:
    engine = FakeEngine()
    probe = probe_of(tmp_path, engine, "flash")
    engine.error = RuntimeError("gone")
    with pytest.raises(RuntimeError):
        await probe.run(set(NETWORKS["flash"]))
    engine.error = None
    await probe.run({"denoiser"})
    assert "text_encoder" in engine.executions
