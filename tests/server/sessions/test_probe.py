"""A probe tries what streams use, and spares what takes long."""

from pathlib import Path

import pytest

from server.sessions.jobs import Offer
from server.sessions.probe import Probe
from server.triton.contract import NETWORKS, Variant
from tests.support.fake_engine import FakeEngine
from tests.support.serving import manifest, small_windows, tokenizer


@pytest.mark.parametrize("variant", ["flash", "preview"])
async def test_a_thorough_probe_runs_every_network_and_a_routine_one_all_but_umt5(
    tmp_path: Path, variant: Variant
) -> None:
    engine = FakeEngine()
    probe = Probe(engine, tokenizer(tmp_path), Offer(small_windows(), manifest(variant)))
    for thorough in (True, False, False, True):
        engine.executions.clear()
        await probe.run(thorough)
        spared = set() if thorough else {"text_encoder"}
        assert set(engine.executions) == set(NETWORKS[variant]) - spared


@pytest.mark.parametrize(("variant", "texts"), [("flash", 1), ("preview", 2)])
async def test_only_preview_needs_a_negative_prompt(
    tmp_path: Path, variant: Variant, texts: int
) -> None:
    engine = FakeEngine()
    probe = Probe(engine, tokenizer(tmp_path), Offer(small_windows(), manifest(variant)))
    await probe.run(thorough=True)
    assert engine.executions.count("text_encoder") == texts


async def test_a_failed_thorough_probe_leaves_nothing_to_spare(tmp_path: Path) -> None:
    engine = FakeEngine()
    probe = Probe(engine, tokenizer(tmp_path), Offer(small_windows(), manifest("flash")))
    engine.error = RuntimeError("gone")
    with pytest.raises(RuntimeError):
        await probe.run(thorough=True)
    engine.error = None
    await probe.run(thorough=False)
    assert "text_encoder" in engine.executions
