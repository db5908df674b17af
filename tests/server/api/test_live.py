"""The Animate stream over real gRPC, with a fake engine."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from google.protobuf import duration_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from server.errors import EngineUnavailableError
from server.triton.engine import Priority
from tests.support.fake_engine import FakeEngine
from tests.support.serving import (
    END,
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
    until,
)

RATE = 16_000


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def server(engine: FakeEngine, tmp_path: Path) -> AsyncIterator[Served]:
    async with served(engine, tmp_path, small_windows()) as running:
        yield running


async def test_a_stream_is_started_frames_and_a_summary(server: Served) -> None:
    answers = await animate(server, [start(), *said(speech(RATE))])
    kinds = [answer.WhichOneof("message") for answer in answers]
    assert kinds == ["started", "utterance", *["frame"] * 25, "utterance", "summary"]
    assert answers[-1].summary.frames == 25
    assert answers[-1].summary.audio_samples == RATE
    assert answers[-1].summary.audio_duration.seconds == 1
    # 5 frames, then 7 new ones with every window of 9.
    assert answers[-1].summary.windows == 4


async def test_what_could_be_better_about_a_portrait_is_said_before_the_first_frame(
    server: Served,
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (600, 2_000), "red").save(file, "JPEG")
    begin = start(portrait=pb.Portrait(image=file.getvalue()[:-2]))
    answers = await animate(server, [begin, *said(speech(640))])
    assert [answer.WhichOneof("message") for answer in answers[:3]] == ["started", *["warning"] * 2]
    reasons = [answer.warning.reason for answer in answers[1:3]]
    assert reasons == ["PORTRAIT_DAMAGED", "PORTRAIT_CROPPED"]


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 47_999])
@pytest.mark.parametrize("samples", [1, 2, 640, 641, 1_764, 5_000, 29_989])
async def test_every_started_frame_of_audio_is_a_frame(
    server: Served, rate: int, samples: int
) -> None:
    answers = frames(await animate(server, [start(rate), *said(speech(samples))]))
    assert len(answers) == -(-samples * 25 // rate)
    assert [frame.index for frame in answers] == list(range(len(answers)))
    assert [f.first_audio_sample for f in answers] == [n * rate // 25 for n in range(len(answers))]
    assert all(f.first_audio_sample < samples for f in answers)
    times = [frame.presentation_time.ToNanoseconds() for frame in answers]
    assert times == [n * 40_000_000 for n in range(len(answers))]


CHUNKINGS = st.lists(
    st.tuples(st.integers(min_value=1, max_value=4_000), st.sampled_from([0.0, 0.0, 0.001, 0.02])),
    max_size=40,
)
"""Sizes of chunks, and seconds to wait before each."""


@pytest.mark.parametrize("rate", [16_000, 44_100])
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(chunking=CHUNKINGS, engine_delay_s=st.sampled_from([0.0, 0.001, 0.004]))
def test_frames_do_not_depend_on_chunking_or_timing(
    tmp_path: Path, rate: int, chunking: list[tuple[int, float]], engine_delay_s: float
) -> None:
    async def once(sizes: list[int], waits_s: list[float], delay_s: float) -> list[bytes]:
        engine = FakeEngine()
        engine.delay_s = delay_s
        async with served(engine, tmp_path, small_windows()) as server:
            messages = [start(rate), *said(speech(20_000), sizes)]
            answers = await animate(server, messages, waits_s=[0.0, *waits_s])
            return [frame.data for frame in frames(answers)]

    whole = asyncio.run(once([], [], 0.0))
    sizes, waits_s = [size for size, _ in chunking], [wait_s for _, wait_s in chunking]
    assert asyncio.run(once(sizes, waits_s, engine_delay_s)) == whole


async def test_one_sample_a_message_gives_the_same_frames(server: Served) -> None:
    samples = speech(3_000)
    whole = frames(await animate(server, [start(), *said(samples)]))
    single = frames(await animate(server, [start(), *said(samples, [1] * 3_000)]))
    assert [frame.data for frame in single] == [frame.data for frame in whole]


async def test_frames_follow_the_speech(server: Served) -> None:
    one = frames(await animate(server, [start(), *said(speech(RATE, seed=1))]))
    other = frames(await animate(server, [start(), *said(speech(RATE, seed=2))]))
    assert [frame.data for frame in one] != [frame.data for frame in other]


async def test_frames_leave_long_before_the_audio_ends(server: Served) -> None:
    call = server.stub.Animate()
    await call.write(start())
    assert (await call.read()).WhichOneof("message") == "started"
    # The first window is 5 frames and waits for 2 more; its last 2 are held back.
    await call.write(chunk(speech(7 * 640).tobytes()))
    assert (await call.read()).WhichOneof("message") == "utterance"
    for index in range(3):
        assert (await call.read()).frame.index == index
    call.cancel()


async def test_the_first_window_of_a_stream_goes_first(server: Served, engine: FakeEngine) -> None:
    piece = chunk(speech(RATE).tobytes())
    await animate(server, [start(), piece, PAUSE, piece, END])
    # All that it takes, up to the first decoded window; and nothing after it.
    first = engine.executions.index("vae_decoder") + 1
    assert {"image_encoder", "text_encoder", "denoiser"} < set(engine.executions[:first])
    assert engine.priorities[:first] == [Priority.FIRST_FRAME] * first
    assert set(engine.priorities[first:]) == {Priority.NORMAL}


async def test_half_closing_means_end(server: Served) -> None:
    answers = await animate(server, [start(), chunk(speech(RATE).tobytes())])
    assert answers[-1].summary.frames == 25


async def test_end_without_half_closing_completes_the_stream(server: Served) -> None:
    call = server.stub.Animate()
    for message in [start(), chunk(speech(640).tobytes()), END]:
        await call.write(message)
    answers = [answer async for answer in call]
    assert answers[-1].summary.frames == 1


async def test_no_audio_is_no_frames(server: Served) -> None:
    answers = await animate(server, [start(), END])
    assert [answer.WhichOneof("message") for answer in answers] == ["started", "summary"]


async def test_started_reports_what_is_in_force(server: Served) -> None:
    generation = pb.GenerationSettings(steps=3, seed=7, audio_guidance=1.5)
    message = start(
        client_session_id="mine",
        generation=generation,
        video_format=pb.VideoFormat(width=96, height=64, encoding=pb.FRAME_ENCODING_PNG),
    )
    answers = await animate(server, [message, *said(speech(640))])
    started = answers[0].started
    assert started.client_session_id == "mine"
    assert started.request_id
    assert started.generation.steps == 3
    assert started.generation.seed == 7
    assert started.generation.prompt == "A person is speaking."
    assert started.generation.sampler == pb.SAMPLER_FLOW_UNIPC
    assert (started.video_format.width, started.video_format.height) == (96, 64)
    assert started.video_format.frames_per_second == 25
    assert (started.windows.first_window_frames, started.windows.window_frames) == (5, 9)
    assert started.windows.ladder == [5, 9]
    assert started.windows.overlap_frames == 2
    assert started.windows.audio_lookahead.ToMilliseconds() == 80
    assert started.limits.max_streams == 4
    frame = frames(answers)[0]
    assert (frame.width, frame.height) == (96, 64)
    assert frame.data.startswith(b"\x89PNG")


async def test_in_real_time_the_buffer_is_told_and_every_frame_comes(server: Served) -> None:
    asked = start(pace=pb.PACE_REALTIME, buffer=duration_pb2.Duration(nanos=200_000_000))
    answers = await animate(server, [asked, *said(speech(RATE // 2))])
    assert answers[0].started.pace == pb.PACE_REALTIME
    assert answers[0].started.buffer.ToMilliseconds() == 200
    plain = await animate(server, [start(), *said(speech(RATE // 2))])
    assert [frame.data for frame in frames(answers)] == [frame.data for frame in frames(plain)]
    told = [answer.buffer for answer in answers if answer.WhichOneof("message") == "buffer"]
    assert told
    assert told[-1].realtime_factor > 0
    assert answers[-1].summary.underruns == told[-1].underruns
    assert not any(answer.WhichOneof("message") == "buffer" for answer in plain)
    assert plain[0].started.pace == pb.PACE_AS_FAST_AS_POSSIBLE
    assert plain[0].started.buffer.ToMilliseconds() == 2_500
    assert plain[0].started.limits.max_buffer.seconds == 10


async def test_the_clients_request_id_is_kept(server: Served) -> None:
    call = server.stub.Animate(
        iter([start(), *said(speech(640))]), metadata=(("x-request-id", "abc-1"),)
    )
    answers = [answer async for answer in call]
    assert answers[0].started.request_id == "abc-1"


async def test_two_streams_at_once_do_not_touch_each_other(
    server: Served, engine: FakeEngine
) -> None:
    engine.delay_s = 0.002
    requests = [[start(), *said(speech(RATE, seed=seed), [700] * 30)] for seed in (1, 2)]
    alone = [[f.data for f in frames(await animate(server, messages))] for messages in requests]
    both = await asyncio.gather(*(animate(server, messages) for messages in requests))
    assert [[f.data for f in frames(answers)] for answers in both] == alone


CUT_OFF = portrait()[: len(portrait()) // 2]
UNKNOWN_ENCODING = pb.VideoFormat(encoding=99)  # pyright: ignore[reportArgumentType]
LONG_PROMPT = pb.GenerationSettings(prompt="a" * 5000)
BAD_STARTS: dict[str, tuple[dict[str, Any], str]] = {
    "no portrait": ({"portrait": None}, "start.portrait"),
    "no bytes": ({"portrait": pb.Portrait()}, "start.portrait.image"),
    "no picture": ({"portrait": pb.Portrait(image=b"GIF89a nonsense")}, "start.portrait.image"),
    "one pixel": ({"portrait": pb.Portrait(image=portrait(1))}, "start.portrait.image"),
    "cut off": (
        {"portrait": pb.Portrait(image=CUT_OFF)},
        "start.portrait.image",
    ),
    "no format": ({"audio_format": None}, "start.audio_format.encoding"),
    "no rate": (
        {"audio_format": pb.AudioFormat(encoding=pb.AUDIO_ENCODING_PCM_S16LE)},
        "start.audio_format.sample_rate_hz",
    ),
    "high rate": (
        {
            "audio_format": pb.AudioFormat(
                encoding=pb.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=96_000
            )
        },
        "start.audio_format.sample_rate_hz",
    ),
    "six channels": (
        {
            "audio_format": pb.AudioFormat(
                encoding=pb.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=16_000, channels=6
            )
        },
        "start.audio_format.channels",
    ),
    "unknown encoding": (
        {"video_format": UNKNOWN_ENCODING},
        "start.video_format.encoding",
    ),
    "size": ({"video_format": pb.VideoFormat(width=63, height=64)}, "start.video_format.width"),
    "steps": ({"generation": pb.GenerationSettings(steps=0)}, "start.generation.steps"),
    "many steps": ({"generation": pb.GenerationSettings(steps=9_999)}, "start.generation.steps"),
    "nan": (
        {"generation": pb.GenerationSettings(audio_guidance=float("nan"))},
        "start.generation.audio_guidance",
    ),
    "long prompt": (
        {"generation": LONG_PROMPT},
        "start.generation.prompt",
    ),
    "no steps": ({"min_steps": 0}, "start.min_steps"),
    "more steps than all": ({"min_steps": 3}, "start.min_steps"),
    "pace": ({"pace": 7}, "start.pace"),
    "long buffer": ({"buffer": duration_pb2.Duration(seconds=11)}, "start.buffer"),
    "negative buffer": ({"buffer": duration_pb2.Duration(seconds=-1)}, "start.buffer"),
    "long id": ({"client_session_id": "a" * 200}, "start.client_session_id"),
    "negative prompt": (
        {"generation": pb.GenerationSettings(negative_prompt="bad")},
        "start.generation.negative_prompt",
    ),
}


@pytest.mark.parametrize("name", BAD_STARTS)
async def test_a_bad_start_names_its_field_and_the_next_stream_works(
    server: Served, name: str
) -> None:
    changes, field = BAD_STARTS[name]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await animate(server, [start(**changes), *said(speech(640))])
    refused = refusal(caught.value)
    assert (refused.code, refused.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert len(frames(await animate(server, [start(), *said(speech(640))]))) == 1


BAD_STREAMS: dict[str, tuple[list[pb.AnimateRequest], str]] = {
    "nothing": ([], "start"),
    "audio first": ([chunk(b"\0\0"), start()], "message"),
    "two starts": ([start(), start()], "start"),
    "half a sample": ([start(), chunk(b"\0\0\0")], "audio.data"),
    "no samples": ([start(), chunk(b"")], "audio.data"),
    "empty message": ([start(), pb.AnimateRequest()], "message"),
    "audio after end": ([start(), END, chunk(b"\0\0")], "audio"),
}


@pytest.mark.parametrize("name", BAD_STREAMS)
async def test_a_bad_stream_names_its_field_and_the_next_stream_works(
    server: Served, engine: FakeEngine, name: str
) -> None:
    messages, field = BAD_STREAMS[name]
    # The stream must still be open when the message after `end` arrives.
    engine.delay_s = 0.05
    speech_first = [chunk(speech(6_400).tobytes())] if name == "audio after end" else []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await animate(server, [*messages[:1], *speech_first, *messages[1:]])
    refused = refusal(caught.value)
    assert (refused.code, refused.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    engine.delay_s = 0
    assert len(frames(await animate(server, [start(), *said(speech(640))]))) == 1


async def test_floats_that_are_no_numbers_are_refused(server: Served) -> None:
    audio_format = pb.AudioFormat(encoding=pb.AUDIO_ENCODING_PCM_F32LE, sample_rate_hz=16_000)
    data = np.array([0.1, np.nan], "<f4").tobytes()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await animate(server, [start(audio_format=audio_format), chunk(data)])
    assert refusal(caught.value).field == "audio.data"


async def test_a_dead_engine_is_unavailable_with_its_reason(
    server: Served, engine: FakeEngine
) -> None:
    engine.error = EngineUnavailableError("denoiser", "no Triton can be reached")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await animate(server, [start(), *said(speech(640))])
    refused = refusal(caught.value)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "ENGINE_UNAVAILABLE")
    assert "denoiser" in refused.text


async def test_an_unforeseen_error_keeps_its_text_to_itself(
    server: Served, engine: FakeEngine
) -> None:
    engine.error = RuntimeError("secret path /etc")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await animate(server, [start(), *said(speech(640))])
    refused = refusal(caught.value)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in refused.text


async def test_a_client_that_leaves_stops_its_work(server: Served, engine: FakeEngine) -> None:
    engine.delay_s = 0.01
    call = server.stub.Animate()
    await call.write(start())
    await call.write(chunk(speech(10 * RATE).tobytes()))
    await call.read()
    await call.read()
    call.cancel()
    await until(lambda: server.gateway.admission.active == 0)
    before = len(engine.executions)
    await asyncio.sleep(0.1)
    assert len(engine.executions) == before


async def test_a_deadline_that_passes_stops_the_work(server: Served, engine: FakeEngine) -> None:
    engine.delay_s = 0.05
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await animate(server, [start(), *said(speech(10 * RATE))], timeout_s=0.5)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: server.gateway.admission.active == 0)
