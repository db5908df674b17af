"""Streams for which memory is short go on with a lighter decoder, or with smaller pictures.

A window of 5 frames has 2 latent frames and one of 9 has 3; a guided step has 2 rows. Pictures of
twice the usual sides take four times the memory.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from numpy.typing import NDArray

from server.animation.economy import Economy, Rungs
from server.animation.stitch import Stitcher
from server.animation.windows import Window, windows
from server.audio.paths import FlashAudio, PreviewAudio
from server.errors import OutOfMemoryError
from server.pictures.resizing import resized
from server.sessions.jobs import Offer
from server.triton.engine import Engine
from tests.support.fake_engine import FakeEngine
from tests.support.pipeline_reference import Recorder
from tests.support.serving import (
    PAUSE,
    SIZE,
    Served,
    animate,
    chunk,
    frames,
    manifest,
    portrait,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
)
from tests.support.short_of_memory import ShortOfMemory

SAMPLES = 16_000
LARGE = 2 * SIZE
SIZES = ((LARGE, LARGE), (SIZE, SIZE), (96, SIZE))
Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    def serve(engine: Engine, *, lowers: bool = True, **described: Any) -> object:
        settings = small_windows(lower_when_out_of_memory=lowers)
        return served(engine, tmp_path, settings, offer=manifest(**described))

    return serve  # pyright: ignore[reportReturnType]


def messages(**opening: Any) -> list[pb.AnimateRequest]:
    # Of the large size, so that it is cut out of nothing larger.
    who = pb.Portrait(image=portrait(LARGE))
    return [start(**{"portrait": who, **opening}), *said(speech(SAMPLES))]


def warnings(answers: list[pb.AnimateResponse]) -> list[str]:
    found = [answer.warning for answer in answers if answer.HasField("warning")]
    return [warning.message for warning in found if warning.reason == "MEMORY_LOW"]


def pictures(answers: list[pb.AnimateResponse]) -> NDArray[np.uint8]:
    sent = frames(answers)
    return np.array([np.frombuffer(f.data, np.uint8).reshape(f.height, f.width, 3) for f in sent])


async def test_the_lighter_decoder_draws_where_the_usual_one_has_no_room(serve: Serve) -> None:
    engine = ShortOfMemory(2, "vae_decoder")
    async with serve(FakeEngine()) as running:
        usual = pictures(await animate(running, messages()))
    async with serve(engine, light_decoder=True) as running:
        twice = [*messages()[:1], chunk(speech(SAMPLES).tobytes()), PAUSE, *said(speech(SAMPLES))]
        answers = await animate(running, twice)
        (warning,) = warnings(answers)
        assert "vae_decoder" in warning
        assert "a lighter decoder" in warning
        # Windows stay as long as they are, and the second utterance remembers.
        assert engine.refused == [(1, 3)]
        assert answers[-1].summary.windows == 8
        # The first window had room.
        drawn = pictures(answers)
        np.testing.assert_array_equal(drawn[:3], usual[:3])
        assert drawn[5:25].mean() < 0.75 * usual[5:25].mean()
        engine.room = 99
        again = await animate(running, messages())
        assert not warnings(again)
        np.testing.assert_array_equal(pictures(again), usual)


async def test_where_the_lighter_decoder_has_no_room_either_windows_get_shorter(
    serve: Serve,
) -> None:
    engine = ShortOfMemory(2, "vae_decoder", "vae_decoder_light")
    async with serve(engine, light_decoder=True) as running:
        answers = await animate(running, messages())
    assert len(frames(answers)) == 25
    lighter, shorter = warnings(answers)
    assert "a lighter decoder" in lighter
    assert "vae_decoder_light" in shorter
    assert "windows have 5 frames from now on, not 9" in shorter


async def test_the_lighter_decoder_is_no_help_to_the_denoiser(serve: Serve) -> None:
    async with serve(ShortOfMemory(2), light_decoder=True) as running:
        told = warnings(await animate(running, messages()))
    assert [("decoder" in message) for message in told] == [False, False]


async def test_exact_clips_keep_the_decoder(serve: Serve) -> None:
    request = pb.RenderRequest(
        portrait=pb.Portrait(image=portrait()),
        audio_format=start().start.audio_format,
        audio=speech(SAMPLES).tobytes(),
        output=pb.RENDER_OUTPUT_FRAMES,
        exact_clip=pb.ExactClip(window_frames=9),
    )
    async with serve(ShortOfMemory(2, "vae_decoder"), light_decoder=True, sizes=SIZES) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            [answer async for answer in running.stub.Render(request)]
    assert refusal(caught.value).reason == "OUT_OF_MEMORY"


async def test_pictures_are_made_smaller_and_leave_as_large_as_they_were_announced(
    serve: Serve,
) -> None:
    engine = ShortOfMemory(room=3)
    recorder = Recorder(engine)
    async with serve(recorder, sizes=SIZES) as running:
        answers = await animate(running, messages())
        started = answers[0].started.video_format
        assert (started.width, started.height) == (LARGE, LARGE)
        drawn = pictures(answers)
        assert drawn.shape == (25, LARGE, LARGE, 3)
        rows, smaller = warnings(answers)
        assert "one after the other" in rows
        assert f"pictures are made at {SIZE}x{SIZE} from now on, and enlarged" in smaller
        # Windows are as long as usual again.
        assert engine.refused == [(2, 2), (1, 2)]
        assert set(engine.ran) == {(1, 2), (1, 3)}
        # Windows are told what was shown, made small again, and what they make is enlarged.
        known = [each[0] for each in recorder.given("vae_encoder", "known")]
        made = [each[0] for each in recorder.made("vae_decoder", "frames")]
        assert [each.shape[:3] for each in made] == [(5, SIZE, SIZE), *[(9, SIZE, SIZE)] * 3]
        stitcher, shown = Stitcher(overlap=2), list[NDArray[np.uint8]]()
        for window, decoded in zip(windows(running.gateway.offer.windows), made, strict=False):
            shown += [*(await stitcher.add(window, resized(decoded, (LARGE, LARGE)))).pictures]
            told = resized(stitcher.held, (SIZE, SIZE))
            assert window.index == 3 or any(np.array_equal(told, each) for each in known)
        np.testing.assert_array_equal(drawn, [*shown, *stitcher.held][:25])
        engine.room = 99
        assert not warnings(await animate(running, messages()))


async def test_a_size_without_room_for_the_longest_window_gets_shorter_ones(serve: Serve) -> None:
    engine = ShortOfMemory(room=2)
    async with serve(engine, sizes=SIZES) as running:
        answers = await animate(running, messages())
    assert len(frames(answers)) == 25
    assert [
        next(w for w in ("one after", "made at", "have 5") if w in message)
        for message in warnings(answers)
    ] == ["one after", "made at", "have 5"]
    assert set(engine.ran) == {(1, 2)}


@pytest.mark.parametrize("lowers", [True, False])
async def test_what_encodes_the_portrait_may_be_what_has_no_room(
    serve: Serve, lowers: bool
) -> None:
    engine = ShortOfMemory(3, "vae_encoder")
    async with serve(engine, lowers=lowers, sizes=SIZES) as running:
        if lowers:
            answers = await animate(running, messages())
            assert pictures(answers).shape == (25, LARGE, LARGE, 3)
            assert len(warnings(answers)) == 1
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await animate(running, messages())
            assert refusal(caught.value).reason == "OUT_OF_MEMORY"


async def test_preview_hears_on_the_face_at_the_smaller_size_too(serve: Serve) -> None:
    who = pb.Portrait(
        image=portrait(LARGE), face_box=pb.FaceBox(left=16, top=16, right=64, bottom=64)
    )
    engine = ShortOfMemory(room=3)
    async with serve(engine, variant="preview", sizes=SIZES) as running:
        answers = await animate(running, messages(portrait=who))
    assert pictures(answers).shape == (25, LARGE, LARGE, 3)
    assert "pictures are made at" in warnings(answers)[-1]


def test_a_smaller_face_mask_has_every_token_that_was_heard_on() -> None:
    mask = np.zeros((8, 6), np.float32)
    mask[3:5, 5] = 1
    path = PreviewAudio(mask, audio_scale=2.0)
    assert path.at(8, 6) is path
    small = path.at(4, 3)
    assert isinstance(small, PreviewAudio)
    np.testing.assert_array_equal(np.argwhere(small.face_mask), [[1, 2], [2, 2]])
    assert small.audio_scale == 2
    flash = FlashAudio()
    assert flash.at(1, 1) is flash


def test_sizes_of_the_same_shape_are_tried_one_after_the_other() -> None:
    offered = ((96, 64), (256, 256), (64, 64), (192, 128), (128, 128), (512, 512))
    offer = Offer(small_windows(lower_when_out_of_memory=True), manifest(sizes=offered))
    rungs = offer.rungs((256, 256))
    assert rungs is not None
    told: list[str] = []
    economy = Economy(rungs, lambda notice: told.append(notice.message))
    shortest = Window(index=0, start=0, frames=5, overlap=0)
    for side in (128, 64):
        economy.lowered(shortest, OutOfMemoryError("denoiser"))
        assert f"made at {side}x{side}" in told[-1]
        assert economy.sized(np.zeros((2, 256, 256, 3), np.uint8)).shape == (2, side, side, 3)
    with pytest.raises(OutOfMemoryError):
        economy.lowered(shortest, OutOfMemoryError("denoiser"))
    assert Offer(small_windows(), manifest(sizes=offered)).rungs((256, 256)) is None


def test_smaller_pictures_are_no_help_to_who_listens() -> None:
    economy = Economy(Rungs((5,), sizes=((64, 64),)), lambda _: None)
    with pytest.raises(OutOfMemoryError):
        economy.lowered(Window(0, 0, 5, 0), OutOfMemoryError("audio_encoder"))
    assert not economy.is_lowered
