"""What one client may take, over real gRPC, with a fake engine."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1.avatar_service_pb2_grpc import AvatarServiceStub

from tests.support.fake_engine import FakeEngine
from tests.support.serving import (
    END,
    PAUSE,
    animate,
    chunk,
    frames,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
    until,
    write_all,
)

RATE = 16_000
INTERRUPT = pb.AnimateRequest(interrupt=pb.Interrupt())


async def test_a_full_server_refuses_at_once_and_says_when_to_come_back(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows(max_streams=1)) as server:
        first = server.stub.Animate()
        await first.write(start())
        assert (await first.read()).WhichOneof("message") == "started"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await animate(server, [start(), *said(speech(640))])
        refused = refusal(caught.value)
        assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.reason == "NO_FREE_STREAM"
        await first.write(END)
        assert (await first.read()).WhichOneof("message") == "summary"
        assert len(frames(await animate(server, [start(), *said(speech(640))]))) == 1


async def test_a_stream_longer_than_the_limit_is_refused(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows(max_stream_audio_s=1)) as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await animate(server, [start(), *said(speech(RATE + 1), [1_000] * 16)])
        assert refusal(caught.value).reason == "LIMIT_EXCEEDED"
        assert len(frames(await animate(server, [start(), *said(speech(RATE))]))) == 25


async def test_a_stream_that_reaches_its_limit_says_so_and_finishes_what_was_said(
    tmp_path: Path,
) -> None:
    async with served(FakeEngine(), tmp_path, small_windows(max_stream_audio_s=2)) as server:
        samples, answers = speech(2 * RATE), list[pb.AnimateResponse]()
        messages = [start(), chunk(samples[: RATE * 3 // 2].tobytes())]
        messages += [
            chunk(samples[n : n + 3200].tobytes()) for n in range(RATE * 3 // 2, len(samples), 3200)
        ]
        call = server.stub.Animate(iter([*messages, chunk(b"\1\0")]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _read_into(answers, call)
        refused = refusal(caught.value)
        assert (refused.reason, "max_stream_audio" in refused.text) == ("LIMIT_EXCEEDED", True)
        assert len(frames(answers)) == 50
        (told,) = [a.stream_expiring for a in answers if a.HasField("stream_expiring")]
        assert told.reason == "MAX_STREAM_AUDIO"
        assert told.remaining.ToTimedelta().total_seconds() == pytest.approx(0.1)
        kinds = [answer.WhichOneof("message") for answer in answers]
        assert "summary" not in kinds


async def test_a_server_that_goes_down_says_so_to_its_streams(tmp_path: Path) -> None:
    settings = small_windows(shutdown_grace_s=20)
    async with served(FakeEngine(), tmp_path, settings) as server:
        call = server.stub.Animate()
        await call.write(start())
        await call.read()
        closing = asyncio.create_task(server.gateway.admission.close(settings.shutdown_grace_s))
        told = (await call.read()).stream_expiring
        assert (told.reason, told.remaining.seconds) == ("SHUTTING_DOWN", 20)
        for message in said(speech(640)):
            await call.write(message)
        kinds: list[str | None] = []
        while isinstance(answer := await call.read(), pb.AnimateResponse):
            kinds.append(answer.WhichOneof("message"))
        assert (kinds.count("frame"), kinds[-1]) == (1, "summary")
        await closing


async def test_a_chunk_longer_than_the_buffer_is_refused(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows(max_buffered_audio_s=1)) as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await animate(server, [start(), chunk(speech(RATE + 1).tobytes())])
        assert refusal(caught.value).reason == "LIMIT_EXCEEDED"


async def test_a_silent_client_is_sent_away(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows(idle_timeout_s=0.2)) as server:
        call = server.stub.Animate()
        await call.write(start())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
        assert refusal(caught.value).reason == "IDLE_CLIENT"
        assert server.gateway.admission.active == 0


async def _read_into(answers: list[pb.AnimateResponse], call: Any) -> None:
    async for answer in call:
        answers.append(answer)


async def test_a_client_that_is_still_being_answered_is_not_silent(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.delay_s = 0.02
    async with served(engine, tmp_path, small_windows(idle_timeout_s=0.5)) as server:
        call = server.stub.Animate()
        for message in [start(), chunk(speech(4 * RATE).tobytes()), PAUSE]:
            await call.write(message)
        answers: list[pb.AnimateResponse] = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _read_into(answers, call)
        assert len(frames(answers)) == 100
        assert refusal(caught.value).reason == "IDLE_CLIENT"


async def test_a_client_that_waits_for_a_slow_window_is_not_silent(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.delay_s = 0.3
    async with served(engine, tmp_path, small_windows(idle_timeout_s=0.2, steps=1)) as server:
        call = server.stub.Animate()
        for message in [start(), chunk(speech(640).tobytes()), PAUSE]:
            await call.write(message)
        answers: list[pb.AnimateResponse] = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _read_into(answers, call)
        assert len(frames(answers)) == 1
        assert refusal(caught.value).reason == "IDLE_CLIENT"


async def test_calls_that_say_nothing_take_nobodys_place(tmp_path: Path) -> None:
    settings = small_windows(max_streams=1, start_timeout_s=0.3)
    async with served(FakeEngine(), tmp_path, settings) as server:
        silent = [server.stub.Animate() for _ in range(4)]
        silent += [server.stub.Animate(metadata=(("x-request-id", "b"),))]
        await asyncio.sleep(0.1)
        assert len(frames(await animate(server, [start(), *said(speech(640))]))) == 1
        for call in silent:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert refusal(caught.value).reason == "IDLE_CLIENT"


async def test_one_caller_may_not_take_every_place(tmp_path: Path) -> None:
    settings = small_windows(max_streams=3, max_streams_per_caller=1)
    async with served(FakeEngine(), tmp_path, settings) as server:
        first = server.stub.Animate()
        await first.write(start())
        answer = await first.read()
        assert answer.started.limits.max_streams_per_caller == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await animate(server, [start(), *said(speech(640))])
        refused = refusal(caught.value)
        assert refused.reason == "NO_FREE_STREAM"
        assert "max_streams_per_caller" in refused.text
        first.cancel()


@pytest.mark.parametrize("seconds", [1, 30, 300, 3600])
async def test_an_interruption_is_heard_whatever_was_said_before_it(
    tmp_path: Path, seconds: int
) -> None:
    engine = FakeEngine()
    async with served(engine, tmp_path, small_windows()) as server:
        call = server.stub.Animate()
        await call.write(start())
        engine.delay_s = 0.01
        piece = chunk(bytes(RATE * 2))
        writing = write_all(call, [*[piece] * seconds, INTERRUPT])
        answers: list[pb.AnimateResponse] = []
        try:
            # Not call.read(), which may report INTERNAL while the burst is still being written.
            async for answer in call:
                answers.append(answer)
                if answer.WhichOneof("message") == "interrupted":
                    break
        except grpc.aio.AioRpcError as error:
            # More than may wait is refused by name, rather than left unread.
            assert seconds > 600
            assert refusal(error).reason == "LIMIT_EXCEEDED"  # noqa: PT017
            assert "max_buffered_audio" in refusal(error).text  # noqa: PT017
        else:
            assert seconds <= 600
            # All of it was taken in long before it could have been drawn.
            assert len(frames(answers)) < 25 * seconds
        await asyncio.wait([writing])
        call.cancel()


async def test_a_message_over_the_size_limit_is_refused(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows(max_message_bytes=2**20)) as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await animate(server, [start(), chunk(bytes(2**20 + 2))])
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_client_that_writes_everything_before_it_reads_is_served(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows()) as server:
        call = server.stub.Animate()
        await call.write(start())
        for message in said(speech(20 * RATE), [RATE] * 20):
            await call.write(message)
        await call.done_writing()
        assert len(frames([answer async for answer in call])) == 500


async def test_a_client_that_never_reads_is_sent_away_and_others_go_on(tmp_path: Path) -> None:
    settings = small_windows(read_timeout_s=0.5, max_buffered_audio_s=2)
    # Small flow control windows, so that little fits on the way to the client.
    options = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
    async with (
        served(FakeEngine(), tmp_path, settings) as server,
        grpc.aio.insecure_channel(server.address, options=options) as channel,
    ):
        never_reads = AvatarServiceStub(channel).Animate()
        await never_reads.write(start())
        await never_reads.write(chunk(speech(2 * RATE).tobytes()))
        other = frames(await animate(server, [start(), *said(speech(2 * RATE))]))
        assert len(other) == 50
        await until(lambda: server.gateway.admission.active == 0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _read_all(never_reads)
        assert refusal(caught.value).reason == "SLOW_READER"


async def _read_all(call: Any) -> None:
    async for _ in call:
        pass
