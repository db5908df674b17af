"""A repository with encoded prompts and no umT5: what is written, served and refused."""

from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from echomimic.v1 import avatar_service_pb2 as pb
from typer.testing import CliRunner

from export.__main__ import app
from export.checkpoint import layout
from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import make_tiny
from export.networks.catalogue import networks
from export.repository.styles import bank, encode
from server.animation.defaults import VARIANT_DEFAULTS
from server.animation.styles import FILE, STYLES, encoded_prompts, write_styles
from server.animation.tokens import PromptTokenizer
from server.manifest import Manifest, ManifestError, NetworkEntry
from server.sessions.jobs import Offer
from tests.support.fake_engine import WIDTH, FakeEngine
from tests.support.pipeline_reference import Recorder
from tests.support.serving import (
    animate,
    frames,
    manifest,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
)

CALM = "a calm portrait"
PROMPTS = {**STYLES, "calm": CALM}


def offering(styles: dict[str, str], *names: str) -> Manifest:
    networks = {name: NetworkEntry(backend="fake", precision="fp32") for name in names}
    return manifest().model_copy(update={"styles": styles, "networks": networks})


@pytest.fixture
def encoded() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        prompt: random.standard_normal((1, 512, WIDTH), np.float32) for prompt in PROMPTS.values()
    }


def test_the_bank_holds_what_umt5_makes(tmp_path: Path) -> None:
    make_tiny(tmp_path, seed=0)
    checkpoint = Checkpoint(tmp_path)
    prompts = bank(checkpoint.variant, {"calm": CALM})
    write_styles(tmp_path / FILE, encode(checkpoint, prompts, "fp32"))
    ours = encoded_prompts(tmp_path, offering(prompts))
    assert ours.keys() == {VARIANT_DEFAULTS["flash"].prompt, *STYLES.values(), CALM}
    tokenize = PromptTokenizer(checkpoint.existing(layout.TOKENIZER))
    module = networks(checkpoint)["text_encoder"](checkpoint).module
    for prompt, text in ours.items():
        with torch.inference_mode():
            theirs = module(*map(torch.from_numpy, tokenize(prompt))).numpy()
        length = text.shape[1]
        np.testing.assert_allclose(text, theirs[:, :length], atol=1e-5, rtol=1e-5)
        assert not theirs[:, length:].any()


def test_a_bank_begins_with_the_prompt_of_the_authors() -> None:
    prompts = bank("preview", {})
    authors = VARIANT_DEFAULTS["preview"]
    generation = Offer(small_windows(), offering(prompts)).generation
    assert next(iter(prompts.values())) == generation.prompt == authors.prompt
    preview = offering(prompts).model_copy(update={"variant": "preview"})
    assert Offer(small_windows(), preview).generation.negative_prompt == authors.negative_prompt


def test_a_repository_starts_with_its_first_style_and_the_operator_with_another() -> None:
    stated = offering({"negative": "none", "own": "as trained", "natural": "day"}, "text_encoder")
    assert Offer(small_windows(), stated).generation.prompt == "as trained"
    assert Offer(small_windows(prompt="natural"), stated).generation.prompt == "day"
    assert Offer(small_windows(prompt="any"), stated).generation.prompt == "any"
    assert Offer(small_windows(), manifest()).generation == replace(
        VARIANT_DEFAULTS["flash"], steps=2
    )
    assert Offer(small_windows(prompt="natural"), manifest()).generation.prompt == STYLES["natural"]


def test_styles_that_umt5_encodes_need_no_file(tmp_path: Path) -> None:
    assert encoded_prompts(tmp_path, offering(PROMPTS, "text_encoder")) == {}


def test_preview_has_its_negative_prompt_in_the_bank() -> None:
    assert bank("preview", {}).keys() - bank("flash", {}).keys() == {"negative"}


async def test_styles_are_asked_for_by_name_or_text_and_umt5_is_left_alone(
    tmp_path: Path, encoded: dict[str, np.ndarray]
) -> None:
    engine = Recorder(FakeEngine())
    shown: list[list[bytes]] = []
    async with served(
        engine, tmp_path, small_windows(), offer=offering(PROMPTS, "denoiser"), encoded=encoded
    ) as server:
        for prompt in ("calm", CALM, "natural"):
            first = start(generation=pb.GenerationSettings(prompt=prompt))
            answers = await animate(server, [first, *said(speech(6_400))])
            assert answers[0].started.generation.prompt == PROMPTS.get(prompt, prompt)
            shown.append([frame.data for frame in frames(answers)])
        info = await server.stub.GetServerInfo(pb.GetServerInfoRequest())
    assert shown[0] == shown[1] != shown[2]
    assert not engine.given("text_encoder", "token_ids")
    given = engine.given("denoiser", "text")
    assert np.array_equal(given[0][:1], encoded[CALM])
    assert {style.name: style.prompt for style in info.styles} == PROMPTS
    presets = {preset.name: preset.steps for preset in info.presets}
    assert presets == {"fast": 6, "balanced": 8, "maximum": 12}
    assert not info.free_prompts


async def test_another_prompt_is_refused_with_the_names_of_the_styles(
    tmp_path: Path, encoded: dict[str, np.ndarray]
) -> None:
    async with served(
        FakeEngine(), tmp_path, small_windows(), offer=offering(PROMPTS), encoded=encoded
    ) as server:
        first = start(generation=pb.GenerationSettings(prompt="something else"))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await animate(server, [first])
        assert refusal(error.value).field == "start.generation.prompt"
        assert "cinematic" in refusal(error.value).text
        assert "calm" in refusal(error.value).text


async def test_with_umt5_served_any_prompt_goes(tmp_path: Path) -> None:
    offer = offering(PROMPTS, "text_encoder")
    async with served(FakeEngine(), tmp_path, small_windows(), offer=offer) as server:
        first = start(generation=pb.GenerationSettings(prompt="something else"))
        assert frames(await animate(server, [first, *said(speech(6_400))]))
        info = await server.stub.GetServerInfo(pb.GetServerInfoRequest())
        assert info.free_prompts


def test_a_default_prompt_outside_the_bank_is_one_line() -> None:
    with pytest.raises(ManifestError, match="prompt is none of the prompts"):
        Offer(small_windows(prompt="something else"), offering(PROMPTS))


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_a_damaged_bank_is_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / FILE
    write_styles(path, {name: np.zeros((3, WIDTH), np.float32) for name in PROMPTS})
    data = path.read_bytes()
    path.unlink()
    if damage == "cut off":
        path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ManifestError, match=f"{FILE} cannot be used") as caught:
        encoded_prompts(tmp_path, offering(PROMPTS))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("style", ["calm", "two words=x", "=x", "calm= "])
def test_a_style_that_is_none_is_refused(tmp_path: Path, style: str) -> None:
    result = CliRunner().invoke(app, ["onnx", str(tmp_path), "--style-bank", "--style", style])
    assert result.exit_code == 2
    assert "NAME=PROMPT" in result.output
