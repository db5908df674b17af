"""The preview variant over real gRPC, with a fake engine: its settings, its face, its guidance."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from PIL import Image

from tests.support.fake_engine import FakeEngine
from tests.support.pipeline_reference import Recorder
from tests.support.serving import (
    SIZE,
    Served,
    animate,
    frames,
    portrait,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
)

BOX = pb.FaceBox(left=128, top=128, right=384, bottom=512)


@pytest.fixture
def engine() -> Recorder:
    return Recorder(FakeEngine())


@pytest.fixture
async def server(engine: Recorder, tmp_path: Path) -> AsyncIterator[Served]:
    async with served(engine, tmp_path, small_windows(), "preview") as running:
        yield running


def asked(**generation: Any) -> pb.AnimateRequest:
    return start(generation=pb.GenerationSettings(**generation))


async def stream(server: Served, first: pb.AnimateRequest) -> list[pb.AnimateResponse]:
    return await animate(server, [first, *said(speech(16_000))])


async def test_a_stream_has_every_frame_and_says_what_is_in_force(server: Served) -> None:
    answers = await stream(server, asked(text_guidance=4, negative_prompt="blur", seed=7))
    assert len(frames(answers)) == 25
    settings = answers[0].started.generation
    assert (settings.text_guidance, settings.negative_prompt, settings.seed) == (4, "blur", 7)
    assert settings.audio_guidance == pytest.approx(2.9)
    assert settings.dynamic_text_guidance
    assert settings.dynamic_audio_guidance
    assert settings.sampler == pb.SAMPLER_FLOW_EULER
    assert not settings.HasField("teacache")


async def test_the_three_branches_are_one_batch(server: Served, engine: Recorder) -> None:
    await stream(server, asked(text_guidance=4))
    assert engine.given("denoiser", "audio_gain")[-1].tolist() == [[0, 0, 1]]
    scaled = 1.5**2
    assert engine.given("denoiser", "text_gain")[-1].tolist() == [[[0, scaled], [1, 0], [1, 0]]]
    (prompt, negative) = engine.given("denoiser", "text")[-1][0]
    assert (prompt != negative).any()
    assert len(engine.given("denoiser", "latents")[-1]) == 1


@pytest.mark.parametrize(("text", "audio", "rows"), [(1.0, 1.0, 1), (1.0, 2.0, 2), (2.0, 1.0, 3)])
async def test_guidance_costs_only_the_branches_it_needs(
    server: Served, engine: Recorder, text: float, audio: float, rows: int
) -> None:
    await stream(server, asked(text_guidance=text, audio_guidance=audio))
    assert {gain.shape[1] for gain in engine.given("denoiser", "audio_gain")} == {rows}


async def test_audio_acts_on_the_face_that_the_caller_names(
    server: Served, engine: Recorder
) -> None:
    boxed = pb.Portrait(image=portrait(512), face_box=BOX)
    await stream(server, start(portrait=boxed, generation=pb.GenerationSettings(audio_scale=0.5)))
    expected = np.zeros((SIZE // 16, SIZE // 16), np.float32)
    expected[1:4, 1:3] = 1
    np.testing.assert_array_equal(engine.given("denoiser", "face_mask")[0][0], expected)
    assert engine.given("denoiser", "audio_scale")[0][0] == 0.5


@pytest.mark.parametrize(
    "box",
    [
        pb.FaceBox(left=5, top=5, right=5, bottom=9),
        pb.FaceBox(left=-1, top=5, right=5, bottom=9),
        pb.FaceBox(),
    ],
)
async def test_a_box_without_pixels_is_refused(server: Served, box: pb.FaceBox) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stream(server, start(portrait=pb.Portrait(image=portrait(), face_box=box)))
    assert refusal(error.value).field == "start.portrait.face_box"


async def test_a_box_beside_what_is_shown_is_refused(server: Served) -> None:
    # The middle 512 columns are shown.
    wide = portrait(512, width=2048)
    box = pb.FaceBox(left=100, top=100, right=400, bottom=400)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stream(server, start(portrait=pb.Portrait(image=wide, face_box=box)))
    assert refusal(error.value).field == "start.portrait.face_box"
    assert "outside what is shown" in refusal(error.value).text


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("text_guidance", {"text_guidance": 99}),
        ("negative_prompt", {"negative_prompt": "x" * 4000}),
        ("negative_prompt_scale", {"negative_prompt_scale": 4}),
        ("negative_prompt_steps", {"negative_prompt_steps": -1}),
        ("audio_scale", {"audio_scale": float("nan")}),
        ("guidance_skip_ratio", {"guidance_skip_ratio": 1.5}),
        ("teacache.threshold", {"teacache": pb.TeaCache(threshold=-1)}),
        ("teacache.warm_up", {"teacache": pb.TeaCache(warm_up=0)}),
        ("teacache.warm_up", {"teacache": pb.TeaCache(warm_up=3), "steps": 2}),
    ],
)
async def test_values_that_make_no_sense_are_refused_by_name(
    server: Served, field: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stream(server, asked(**settings))
    refused = refusal(error.value)
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.field == f"start.generation.{field}"


async def test_teacache_skips_and_says_so(server: Served, engine: Recorder) -> None:
    cached = asked(steps=6, teacache=pb.TeaCache(threshold=10, warm_up=2))
    answers = await stream(server, cached)
    settings = answers[0].started.generation.teacache
    assert settings.policy == pb.TEA_CACHE_POLICY_EXACT_BRANCHES
    assert (settings.threshold, settings.warm_up) == (10, 2)
    windows = answers[-1].summary.windows
    assert len(engine.given("denoiser", "latents")) == 2 * windows
    assert len(engine.given("denoiser_cached", "latents")) == 4 * windows
    assert len(engine.given("time_modulation", "timestep")) == 1
    assert len(frames(answers)) == 25


async def test_a_later_part_of_the_steps_may_go_without_guidance(
    server: Served, engine: Recorder
) -> None:
    await stream(server, asked(steps=4, text_guidance=4, guidance_skip_ratio=0.5))
    rows = [gain.shape[1] for gain in engine.given("denoiser", "audio_gain")]
    assert rows[:4] == [3, 3, 1, 1]


async def test_a_face_that_nobody_named_is_looked_for(server: Served, engine: Recorder) -> None:
    await stream(server, start(portrait=pb.Portrait(image=face())))
    expected = np.zeros((SIZE // 16, SIZE // 16), np.float32)
    expected[1:3, 2:4] = 1
    np.testing.assert_array_equal(engine.given("denoiser", "face_mask")[0][0], expected)


async def test_without_a_face_audio_acts_everywhere_and_the_client_is_told(
    server: Served, engine: Recorder
) -> None:
    answers = await stream(server, start())
    assert engine.given("denoiser", "face_mask")[0].all()
    warnings = [a.warning.reason for a in answers if a.WhichOneof("message") == "warning"]
    assert warnings == ["FACE_NOT_FOUND"]


def face() -> bytes:
    """A portrait file whose face is a white box."""
    image = Image.new("RGB", (512, 512))
    image.paste("white", (256, 128, 512, 384))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
