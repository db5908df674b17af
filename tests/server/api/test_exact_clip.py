"""Exact clips over real gRPC, with a fake engine; `test_pipeline_*` compares their numbers."""

import io
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from PIL import Image

from server.animation.clip import ExactClip, clip_frames, clip_windows
from server.animation.defaults import VARIANT_DEFAULTS
from server.animation.variant import generation
from server.pictures.face import everywhere
from server.pictures.portrait import whole
from server.triton.contract import Variant
from server.triton.engine import Priority
from tests.support.fake_engine import FakeEngine
from tests.support.pipeline_reference import Recorder
from tests.support.serving import (
    SIZE,
    Served,
    manifest,
    portrait,
    refusal,
    served,
    small_windows,
    speech,
)

RATE = 22_050


@pytest.fixture
def engine() -> Recorder:
    return Recorder(FakeEngine())


@pytest.fixture
async def flash(engine: Recorder, tmp_path: Path) -> AsyncIterator[Served]:
    async with served(engine, tmp_path, small_windows()) as running:
        yield running


@pytest.fixture
async def preview(engine: Recorder, tmp_path: Path) -> AsyncIterator[Served]:
    async with served(engine, tmp_path, small_windows(), "preview") as running:
        yield running


def request(seconds: float, exact: pb.ExactClip, **changes: Any) -> pb.RenderRequest:
    fields: dict[str, Any] = {
        "portrait": pb.Portrait(image=portrait()),
        "audio_format": pb.AudioFormat(
            encoding=pb.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=RATE, channels=1
        ),
        "audio": speech(int(RATE * seconds), RATE).tobytes(),
        "video_format": pb.VideoFormat(encoding=pb.FRAME_ENCODING_RGB),
        "output": pb.RENDER_OUTPUT_FRAMES,
        "exact_clip": exact,
    }
    return pb.RenderRequest(**fields | changes)


async def render(server: Served, message: pb.RenderRequest) -> list[pb.RenderResponse]:
    return [answer async for answer in server.stub.Render(message)]


def pictures(answers: list[pb.RenderResponse]) -> list[pb.Frame]:
    return [answer.frame for answer in answers if answer.WhichOneof("message") == "frame"]


def reasons(answers: list[pb.RenderResponse]) -> list[str]:
    return [a.warning.reason for a in answers if a.WhichOneof("message") == "warning"]


async def test_flash_makes_one_window_of_4k_plus_1_frames(flash: Served, engine: Recorder) -> None:
    answers = await render(flash, request(1.0, pb.ExactClip()))
    assert [frame.index for frame in pictures(answers)] == list(range(25))
    assert reasons(answers) == []
    answers = await render(flash, request(1.05, pb.ExactClip()))
    assert len(pictures(answers)) == 25
    assert reasons(answers) == ["CLIP_SHORTENED"]
    answers = await render(flash, request(1.0, pb.ExactClip(window_frames=9)))
    assert len(pictures(answers)) == answers[-1].summary.frames == 9
    assert [len(a[0]) for a in engine.given("audio_encoder", "waveform")] == [16_000, 16_000, 5_760]


async def test_preview_cuts_windows_and_tells_them_what_went_before(
    preview: Served, engine: Recorder
) -> None:
    exact = pb.ExactClip(window_frames=17, overlap_frames=8)
    answers = await render(preview, request(1.4, exact))
    assert len(pictures(answers)) == 31
    assert reasons(answers) == ["FACE_NOT_FOUND", "CLIP_SHORTENED"]
    assert answers[-1].summary.windows == 3
    assert [known.shape[1] for known in engine.given("vae_encoder", "known")] == [1, 8, 8]


async def test_preview_blends_latents_if_asked(preview: Served, engine: Recorder) -> None:
    exact = pb.ExactClip(window_frames=17, overlap_frames=2, blend_latents=True)
    answers = await render(preview, request(1.4, exact))
    assert len(pictures(answers)) == 33
    lengths = [latents.shape[2] for latents in engine.given("denoiser", "latents")]
    assert lengths[:3] == [5, 5, 3]
    assert [latents.shape[2] for latents in engine.given("vae_decoder", "latents")] == [9]


async def test_only_the_first_window_goes_before_others(tmp_path: Path) -> None:
    engine = FakeEngine()
    async with served(engine, tmp_path, small_windows(), "preview") as server:
        await render(server, request(1.4, pb.ExactClip(window_frames=17, overlap_frames=8)))
    first = engine.executions.index("vae_decoder") + 1
    assert engine.priorities[:first] == [Priority.FIRST_FRAME] * first
    assert set(engine.priorities[first:]) == {Priority.NORMAL}


async def test_windows_that_are_blended_keep_nobody_waiting(tmp_path: Path) -> None:
    engine = FakeEngine()
    async with served(engine, tmp_path, small_windows(), "preview") as server:
        exact = pb.ExactClip(window_frames=17, overlap_frames=2, blend_latents=True)
        await render(server, request(1.4, exact))
    of_clip = engine.executions.index("audio_encoder")
    assert set(engine.priorities[of_clip:]) == {Priority.NORMAL}


async def test_the_portrait_keeps_its_shape(flash: Served) -> None:
    wide = pb.Portrait(image=_wide())
    answers = await render(flash, request(1.0, pb.ExactClip(), portrait=wide))
    size = answers[0].started.video_format
    assert (size.width, size.height) == (80, 32)
    assert all((f.width, f.height) == (80, 32) for f in pictures(answers))
    assert all(len(f.data) == 80 * 32 * 3 for f in pictures(answers))
    assert size.width * size.height <= SIZE * SIZE


def _wide() -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((800, 400)).convert("RGB").save(file, "PNG")
    return file.getvalue()


async def test_colours_are_matched_to_the_first_frame(flash: Served) -> None:
    # The fake engine's pictures must not be all white.
    how = pb.GenerationSettings(prompt="cinematic", audio_guidance=2.5)
    plain = pictures(await render(flash, request(1.0, pb.ExactClip(), generation=how)))
    matching = request(1.0, pb.ExactClip(match_colors=True), generation=how)
    matched = pictures(await render(flash, matching))
    assert plain[0].data == matched[0].data

    def mean(frame: pb.Frame) -> np.floating[Any]:
        return np.frombuffer(frame.data, np.uint8).mean()

    assert abs(mean(matched[-1]) - mean(matched[0])) < abs(mean(plain[-1]) - mean(plain[0]))


@pytest.mark.parametrize(
    ("field", "exact"),
    [
        ("exact_clip.window_frames", pb.ExactClip(window_frames=18)),
        ("exact_clip.window_frames", pb.ExactClip(window_frames=1)),
        ("exact_clip.window_frames", pb.ExactClip(window_frames=1001)),
        ("exact_clip.overlap_frames", pb.ExactClip(overlap_frames=0)),
        ("exact_clip.overlap_frames", pb.ExactClip(window_frames=9, overlap_frames=9)),
        (
            "exact_clip.overlap_frames",
            pb.ExactClip(window_frames=9, overlap_frames=3, blend_latents=True),
        ),
    ],
)
async def test_windows_that_make_no_sense_are_refused(
    preview: Served, field: str, exact: pb.ExactClip
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await render(preview, request(1.0, exact))
    refused = refusal(error.value)
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.field == field


async def test_what_a_variant_or_sampler_cannot_do_is_refused(
    flash: Served, preview: Served
) -> None:
    unipc = pb.GenerationSettings(sampler=pb.SAMPLER_FLOW_UNIPC)
    blend = pb.ExactClip(overlap_frames=2, blend_latents=True)
    for server, message in (
        (flash, request(1.0, pb.ExactClip(overlap_frames=2))),
        (preview, request(1.0, blend, generation=unipc)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await render(server, message)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_speech_of_less_than_five_frames_is_refused(flash: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await render(flash, request(0.19, pb.ExactClip()))
    assert refusal(error.value).field == "audio"


async def test_the_missing_extra_is_named(flash: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.api.render.find_spec", lambda name: None if name == "cv2" else name)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await render(flash, request(1.0, pb.ExactClip()))
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "exact" in refusal(error.value).text


@pytest.mark.parametrize("frames", range(5, 60))
def test_windows_follow_each_other_and_cover_the_clip(frames: int) -> None:
    exact = ExactClip(window_frames=17, overlap_frames=8)
    made = clip_frames(frames * 640, 16_000, exact, "preview")
    cut = list(clip_windows(made, exact))
    assert cut[-1].end == made
    assert frames - made < 4 + exact.overlap_frames
    for before, after in itertools.pairwise(cut):
        assert after.start + after.overlap == before.end
        assert after.frames > after.overlap


async def test_audio_that_ends_with_its_last_frame_is_no_error(preview: Served) -> None:
    # 17 frames exactly: Wav2Vec2 gives a token too few, and the authors' program stops.
    answers = await render(preview, request(0.68, pb.ExactClip()))
    assert len(pictures(answers)) == 17


@pytest.mark.parametrize(
    ("seconds", "frames"), [(1.16, 25), (1.2, 29), (2.28, 53), (8.04, 197), (1.0, 25), (1.15, 25)]
)
def test_lengths_are_rounded_as_the_authors_do(seconds: float, frames: int) -> None:
    exact = ExactClip(window_frames=257)
    assert clip_frames(round(seconds * RATE), RATE, exact, "flash") == frames


@pytest.mark.parametrize(("variant", "side"), [("flash", 752), ("preview", 768)])
def test_sizes_are_rounded_as_the_variants_do(variant: Variant, side: int) -> None:
    _, placement = whole(Image.new("RGB", (808, 808)), (768, 768), variant, field="image")
    assert (placement.width, placement.height) == (side, side)


def _strip(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("size", [(64, 780_000), (64, 1000), (9000, 70)])
async def test_a_portrait_of_an_extreme_shape_is_refused(
    flash: Served, size: tuple[int, int]
) -> None:
    message = request(1.0, pb.ExactClip(), portrait=pb.Portrait(image=_strip(*size)))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await render(flash, message)
    assert refusal(error.value).field == "portrait.image"
    assert "8 : 1" in refusal(error.value).text


async def test_a_face_outside_the_portrait_is_refused(preview: Served) -> None:
    box = pb.FaceBox(left=600, top=600, right=700, bottom=700)
    message = request(1.0, pb.ExactClip(), portrait=pb.Portrait(image=portrait(), face_box=box))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await render(preview, message)
    assert refusal(error.value).field == "portrait.face_box"


async def test_blended_windows_use_neither_negative_scale_nor_skipped_guidance(
    preview: Served, engine: Recorder
) -> None:
    exact = pb.ExactClip(window_frames=17, overlap_frames=2, blend_latents=True)
    settings = pb.GenerationSettings(negative_prompt="portrait", guidance_skip_ratio=0.5, steps=4)
    answers = await render(preview, request(1.4, exact, generation=settings))
    in_force = answers[0].started.generation
    assert (in_force.negative_prompt_scale, in_force.guidance_skip_ratio) == (1, 0)
    gains = engine.given("denoiser", "text_gain")
    assert all(gain.tolist() == [[[0, 1], [1, 0], [1, 0]]] for gain in gains)


async def test_without_text_guidance_nothing_is_guided(preview: Served, engine: Recorder) -> None:
    settings = pb.GenerationSettings(text_guidance=1)
    await render(preview, request(1.0, pb.ExactClip(), generation=settings))
    assert {gain.shape[1] for gain in engine.given("denoiser", "audio_gain")} == {1}


def test_the_shift_of_previews_configuration_comes_first() -> None:
    settings = replace(VARIANT_DEFAULTS["preview"], sampler="flow_dpmpp", shift=3.0, steps=4)
    how = generation(settings, "preview", everywhere(64, 64))
    assert [int(timestep) for timestep in how.sampler.timesteps] == [1000, 978, 937, 833]


async def test_speech_that_is_too_long_to_decode_at_once_is_not_blended(
    preview: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.sessions.gateway.MAX_DECODED_BYTES", 25 * SIZE * SIZE * 12)
    exact = pb.ExactClip(window_frames=17, overlap_frames=2, blend_latents=True)
    assert len(pictures(await render(preview, request(1.0, exact)))) == 25
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await render(preview, request(1.4, exact))
    assert refusal(error.value).field == "audio"
    assert "1.0 s" in refusal(error.value).text


async def test_engines_of_bounded_lengths_make_no_exact_clips(tmp_path: Path) -> None:
    engines = manifest().model_copy(update={"max_window_frames": 81})
    async with served(FakeEngine(), tmp_path, small_windows(), offer=engines) as server:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await render(server, request(1.0, pb.ExactClip()))
    assert refusal(error.value).field == "exact_clip"
