"""Streams for which memory is short, over real gRPC, with a fake engine.

A window of 5 frames has 2 latent frames and one of 9 has 3; a guided step has 2 rows.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from structlog.testing import capture_logs

from server.sessions.probe import Probe
from tests.support.fake_engine import FakeEngine
from tests.support.serving import (
    PAUSE,
    Served,
    animate,
    chunk,
    frames,
    portrait,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
    tokenizer,
)
from tests.support.short_of_memory import ShortOfMemory

SAMPLES = 16_000
Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    def serve(engine: ShortOfMemory | FakeEngine, *, lowers: bool = True) -> object:
        settings = small_windows(lower_when_out_of_memory=lowers)
        return served(engine, tmp_path, settings)

    return serve  # pyright: ignore[reportReturnType]


def messages() -> list[pb.AnimateRequest]:
    return [start(), *said(speech(SAMPLES))]


def warnings(answers: list[pb.AnimateResponse]) -> list[str]:
    found = [answer.warning for answer in answers if answer.WhichOneof("message") == "warning"]
    return [warning.message for warning in found if warning.reason == "MEMORY_LOW"]


def data(answers: list[pb.AnimateResponse]) -> list[bytes]:
    return [frame.data for frame in frames(answers)]


@pytest.mark.parametrize("network", ["denoiser", "vae_decoder"])
async def test_it_is_refused_unless_it_may_be_lowered(serve: Serve, network: str) -> None:
    engine = ShortOfMemory(1, network)
    async with serve(engine, lowers=False) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await animate(running, messages())
        refused = refusal(caught.value)
        assert (refused.code, refused.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "OUT_OF_MEMORY",
        )
        assert f"not enough memory to run {network}" in refused.text
        assert "smaller size" in refused.text
        assert "--lower-when-out-of-memory" in refused.text
        assert len(engine.refused) == 1
        engine.room = 99
        assert len(data(await animate(running, messages()))) == 25


async def test_rows_one_after_the_other_draw_the_same(serve: Serve) -> None:
    async with serve(FakeEngine()) as running:
        expected = data(await animate(running, messages()))
    engine = ShortOfMemory(room=4)
    with capture_logs() as logged:
        async with serve(engine) as running:
            answers = await animate(running, messages())
    assert data(answers) == expected
    # The first window had room for both rows.
    assert (2, 2) in engine.ran
    assert engine.refused == [(2, 3)]
    (warning,) = warnings(answers)
    assert "denoiser" in warning
    assert "one after the other" in warning
    assert [line["problem"] for line in logged if line["event"] == "memory is short"] == [warning]


async def test_windows_get_shorter_where_one_row_has_no_room(serve: Serve) -> None:
    engine = ShortOfMemory(room=2)
    async with serve(engine) as running:
        twice = [start(), chunk(speech(SAMPLES).tobytes()), PAUSE, *said(speech(SAMPLES))]
        answers = await animate(running, twice)
        assert len(data(answers)) == 50
        assert answers[-1].summary.frames == 50
        rows, shorter = warnings(answers)
        assert "one after the other" in rows
        assert "windows have 5 frames from now on, not 9" in shorter
        # The stream remembers both, through its utterances.
        assert engine.refused == [(2, 2), (1, 3)]
        assert set(engine.ran) == {(1, 2)}
        # The next one tries again, and finds that there is room.
        engine.room = 99
        again = await animate(running, messages())
        assert not warnings(again)
        assert {(2, 2), (2, 3)} <= set(engine.ran)


async def test_a_decoder_without_room_shortens_windows_and_leaves_rows_together(
    serve: Serve,
) -> None:
    engine = ShortOfMemory(2, "vae_decoder")
    async with serve(engine) as running:
        answers = await animate(running, messages())
    assert len(data(answers)) == 25
    (warning,) = warnings(answers)
    assert "vae_decoder" in warning
    assert "windows have 5 frames" in warning
    assert engine.refused == [(1, 3)]


async def test_the_shortest_window_that_has_no_room_is_refused(serve: Serve) -> None:
    engine = ShortOfMemory(room=1)
    async with serve(engine) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await animate(running, messages())
        assert refusal(caught.value).reason == "OUT_OF_MEMORY"
        assert engine.refused == [(2, 2), (1, 2)]
        engine.room = 99
        assert len(data(await animate(running, messages()))) == 25


async def test_clips_are_lowered_too(serve: Serve) -> None:
    request = pb.RenderRequest(
        portrait=pb.Portrait(image=portrait()),
        audio_format=start().start.audio_format,
        audio=speech(SAMPLES).tobytes(),
        output=pb.RENDER_OUTPUT_FRAMES,
    )
    async with serve(ShortOfMemory(room=2)) as running:
        answers = [answer async for answer in running.stub.Render(request)]
    kinds = [answer.WhichOneof("message") for answer in answers]
    assert kinds.count("frame") == 25
    assert [a.warning.reason for a in answers if a.HasField("warning")] == ["MEMORY_LOW"] * 2


@pytest.mark.parametrize(("room", "refused"), [(3, ""), (2, "OUT_OF_MEMORY")])
async def test_windows_of_exact_clips_stay_as_long_as_they_are(
    serve: Serve, room: int, refused: str
) -> None:
    request = pb.RenderRequest(
        portrait=pb.Portrait(image=portrait()),
        audio_format=start().start.audio_format,
        audio=speech(SAMPLES).tobytes(),
        output=pb.RENDER_OUTPUT_FRAMES,
        exact_clip=pb.ExactClip(window_frames=9),
    )
    async with serve(ShortOfMemory(room)) as running:
        if refused:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                [answer async for answer in running.stub.Render(request)]
            assert refusal(caught.value).reason == refused
        else:
            answers = [answer async for answer in running.stub.Render(request)]
            assert sum(answer.HasField("frame") for answer in answers) == 9


@pytest.mark.parametrize("lowers", [True, False])
async def test_a_trial_asks_for_no_more_than_streams_may_be_lowered_to(
    serve: Serve, tmp_path: Path, lowers: bool
) -> None:
    engine = ShortOfMemory(room=2)
    async with serve(engine, lowers=lowers) as running:
        probe = Probe(engine, tokenizer(tmp_path), running.gateway.offer)
        if lowers:
            await probe.run(["denoiser"])
            assert set(engine.ran) == {(1, 2)}
        else:
            with pytest.raises(Exception, match="not enough memory"):
                await probe.run(["denoiser"])
