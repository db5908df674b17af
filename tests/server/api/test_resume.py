"""What was played, and resuming after a false interruption, over real gRPC, with a fake engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb

from tests.support.fake_engine import FakeEngine
from tests.support.serving import (
    END,
    PAUSE,
    Served,
    animate,
    chunk,
    frames,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
)

RATE = 16_000
FRAME = 640
INTERRUPT = pb.AnimateRequest(interrupt=pb.Interrupt())
RESUME = pb.AnimateRequest(resume=pb.Resume())


def played(index: int) -> pb.AnimateRequest:
    return pb.AnimateRequest(played=pb.Played(last_frame_index=index))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(FakeEngine(), tmp_path, small_windows()) as running:
        yield running


async def test_a_cough_is_as_if_it_had_not_been(server: Served) -> None:
    samples = speech(2 * RATE)
    call = server.stub.Animate()
    for message in [start(), chunk(samples.tobytes()), PAUSE]:
        await call.write(message)
    shown: list[pb.Frame] = []
    told: dict[str, pb.AnimateResponse] = {}
    async for answer in call:
        told[answer.WhichOneof("message") or ""] = answer
        if answer.HasField("frame"):
            shown.append(answer.frame)
            if answer.frame.index == 12:
                for message in [played(7), INTERRUPT, RESUME, END]:
                    await call.write(message)
    interrupted, resumed = told["interrupted"].interrupted, told["resumed"].resumed
    begins = 8 * FRAME
    assert interrupted.last_played_frame_index == 7
    assert interrupted.resume_audio_sample == begins
    assert interrupted.resumable_samples == 2 * RATE - begins
    assert resumed == pb.Resumed(
        utterance_id=1, first_audio_sample=begins, end_audio_sample=2 * RATE
    )
    again = [frame for frame in shown if frame.utterance_id == 1]
    alone = frames(await animate(server, [start(), *said(samples[begins:])]))
    assert [frame.data for frame in again] == [frame.data for frame in alone]
    assert [frame.first_audio_sample for frame in again] == list(range(begins, 2 * RATE, FRAME))
    assert [frame.index for frame in shown] == list(range(len(shown)))
    assert told["summary"].summary.audio_samples == 2 * RATE


async def test_what_cannot_be_resumed_is_refused_and_the_stream_goes_on(server: Served) -> None:
    answers = await animate(server, [start(), RESUME, INTERRUPT, *said(speech(FRAME))])
    kinds = [answer.WhichOneof("message") for answer in answers]
    assert kinds[1:3] == ["resume_refused", "interrupted"]
    assert answers[1].resume_refused.reason == "NOTHING_INTERRUPTED"
    assert kinds[-1] == "summary"


@pytest.mark.parametrize("index", [-1, 0, 2**62])
async def test_a_report_of_a_frame_that_was_not_sent_is_refused(server: Served, index: int) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await animate(server, [start(), played(index), END])
    refused = refusal(caught.value)
    assert (refused.code, refused.field) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "played.last_frame_index",
    )


async def test_the_bound_is_reported_and_is_never_above_what_may_wait(tmp_path: Path) -> None:
    settings = small_windows(max_resumable_audio_s=5, max_buffered_audio_s=2)
    async with served(FakeEngine(), tmp_path, settings) as server:
        answers = await animate(server, [start(), END])
    assert answers[0].started.limits.max_resumable_audio.seconds == 2
