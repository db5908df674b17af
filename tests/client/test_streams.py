"""Streams that are told more than speech: pauses, interruptions, and how a call is to be made."""

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb

from echomimic_client import requests
from echomimic_client.aio import AsyncAvatarClient
from echomimic_client.audio import AudioFormat
from echomimic_client.blocking import AvatarClient
from echomimic_client.choices import ExactClip, FaceBox, GenerationSettings, TeaCache
from echomimic_client.errors import CallEndedError, CallError
from echomimic_client.results import (
    AudioPosition,
    BufferState,
    Frame,
    Heartbeat,
    Interrupted,
    Pong,
    Progress,
    Resumed,
    ResumeRefused,
    StreamExpiring,
    Updated,
    UpdateRefused,
    UtteranceEvent,
)
from echomimic_client.sending import outliving
from tests.support import serving as gateway
from tests.support.fake_engine import FakeEngine
from tests.support.fake_service import SERVER_FULL, FakeService, served
from tests.support.speech_clips import RATE, clip

FACE = b"a portrait file"
PCM = AudioFormat("s16le", RATE)
SECOND = bytes(2 * RATE)


def told(events: list[Any]) -> list[Any]:
    return [e for e in events if isinstance(e, UtteranceEvent | Interrupted)]


EXPECTED = [
    UtteranceEvent(0, "began", 0, 0),
    UtteranceEvent(0, "ended", 24, RATE),
    UtteranceEvent(1, "began", 25, RATE),
    Interrupted(49, 2 * RATE, 49, 2 * RATE, 0),
    UtteranceEvent(2, "began", 50, 2 * RATE),
    UtteranceEvent(2, "ended", 74, 3 * RATE),
]


def test_utterances_pauses_and_interruptions() -> None:
    with (
        served(FakeService()) as address,
        AvatarClient(address) as client,
        client.animate(FACE, audio_format=PCM, continue_from_last_frame=True) as stream,
    ):
        assert stream.wait_until_started().request_id == "r1"
        events = []
        stream.send(SECOND)
        stream.end_of_utterance()
        stream.send(SECOND)
        for event in stream.events():
            events.append(event)
            if isinstance(event, Frame) and event.index == 49:
                stream.interrupt()
            if isinstance(event, Interrupted):
                stream.send(SECOND)
                stream.end()
    assert told(events) == EXPECTED
    frames = [event for event in events if isinstance(event, Frame)]
    assert [frame.utterance_id for frame in frames] == 25 * [0] + 25 * [1] + 25 * [2]
    assert {frame.kind for frame in frames} == {"speech"}
    assert stream.summary.frames == 75


async def test_asynchronous_utterances_pauses_and_interruptions() -> None:
    service = FakeService()
    with served(service) as address:
        async with (
            AsyncAvatarClient(address) as client,
            client.animate(FACE, audio_format=PCM, continue_from_last_frame=True) as stream,
        ):
            assert (await stream.wait_until_started()).request_id == "r1"
            assert service.start.continue_from_last_frame
            events = []
            await stream.send(SECOND)
            await stream.end_of_utterance()
            await stream.send(SECOND)
            async for event in stream.events():
                events.append(event)
                if isinstance(event, Frame) and event.index == 49:
                    await stream.interrupt()
                if isinstance(event, Interrupted):
                    await stream.send(SECOND)
                    await stream.end()
    assert told(events) == EXPECTED
    assert stream.summary.frames == 75


async def test_a_gateway_understands_them(tmp_path: Path) -> None:
    speech = gateway.speech(RATE).tobytes()
    async with (
        gateway.served(FakeEngine(), tmp_path, gateway.small_windows()) as running,
        AsyncAvatarClient(running.address) as client,
        client.animate(gateway.portrait(), audio_format=PCM, request_id="mine") as stream,
    ):
        started = await stream.wait_until_started()
        await stream.send(speech)
        await stream.end_of_utterance()
        events = []
        async for event in stream.events():
            events.append(event)
            if isinstance(event, UtteranceEvent) and event.phase == "ended":
                await stream.interrupt()
            if isinstance(event, Interrupted):
                await stream.end()
    assert started.request_id == "mine"
    assert told(events) == [
        UtteranceEvent(0, "began", 0, 0),
        UtteranceEvent(0, "ended", 24, RATE),
        Interrupted(24, RATE, 24, RATE, 0),
    ]


async def test_a_gateway_tells_positions_answers_pings_and_shows_that_it_is_there(
    tmp_path: Path,
) -> None:
    async with (
        gateway.served(FakeEngine(), tmp_path, gateway.small_windows()) as running,
        AsyncAvatarClient(running.address) as client,
        client.animate(
            gateway.portrait(),
            audio_format=PCM,
            audio_position_interval_s=0.2,
            heartbeat_interval_s=1.0,
            min_steps=2,
        ) as stream,
    ):
        started = await stream.wait_until_started()
        assert (started.audio_position_interval_s, started.heartbeat_interval_s) == (0.2, 1.0)
        assert started.min_steps == 2
        await stream.send(gateway.speech(RATE).tobytes())
        await stream.end_of_utterance()
        await stream.ping("mine")
        events: list[Any] = []
        async for event in stream.events():
            events.append(event)
            if isinstance(event, Heartbeat):
                await stream.end()
    assert Pong("mine") in events
    assert AudioPosition(RATE, RATE) in events


async def test_a_gateway_listens(tmp_path: Path) -> None:
    async with (
        gateway.served(FakeEngine(), tmp_path, gateway.small_windows()) as running,
        AsyncAvatarClient(running.address) as client,
        client.animate(gateway.portrait(), audio_format=PCM, idle="model") as stream,
    ):
        kinds: list[str] = []
        async for event in stream.events():
            assert isinstance(event, Frame)
            kinds.append(event.kind)
            if len(kinds) == 1:
                await stream.listening(True)
            if event.kind == "listening":
                await stream.end()
    assert {"idle", "listening"} == set(kinds)


async def test_a_gateway_resumes_what_was_not_played(tmp_path: Path) -> None:
    async with (
        gateway.served(FakeEngine(), tmp_path, gateway.small_windows()) as running,
        AsyncAvatarClient(running.address) as client,
        client.animate(gateway.portrait(), audio_format=PCM) as stream,
    ):
        assert (await stream.wait_until_started()).limits.max_resumable_audio_s == 60
        await stream.send(gateway.speech(RATE).tobytes())
        await stream.end_of_utterance()
        events: list[Any] = []
        async for event in stream.events():
            events.append(event)
            if isinstance(event, Frame) and event.index == 9:
                await stream.played(4)
                await stream.interrupt()
                await stream.resume()
                await stream.resume()
                await stream.end()
    (interrupted,) = [event for event in events if isinstance(event, Interrupted)]
    begins = interrupted.resume_audio_sample
    assert (interrupted.last_played_frame_index, begins) == (4, 5 * RATE // 25)
    assert Resumed(1, begins, RATE, 0) in events
    (refused,) = [event for event in events if isinstance(event, ResumeRefused)]
    assert refused.reason == "NOTHING_INTERRUPTED"
    again = [e for e in events if isinstance(e, Frame) and e.utterance_id == 1]
    assert again[0].first_audio_sample == begins
    assert len(again) == 20


async def test_a_stream_tells_in_time_that_it_will_have_to_end(tmp_path: Path) -> None:
    settings = gateway.small_windows(max_stream_audio_s=1)
    async with (
        gateway.served(FakeEngine(), tmp_path, settings) as server,
        AsyncAvatarClient(server.address) as client,
    ):
        stream = client.animate(gateway.portrait(), bytes(2 * 15_200), PCM)
        events = [event async for event in stream.events()]
    (told,) = [event for event in events if isinstance(event, StreamExpiring)]
    assert (told.reason, told.remaining_s) == ("MAX_STREAM_AUDIO", pytest.approx(0.05))
    assert "open another one" in told.message


@pytest.mark.parametrize("asked", [{"pace": "realtime"}, {"buffer_s": 0.1}])
async def test_a_gateway_tells_of_the_buffer_that_is_asked_for(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    async with (
        gateway.served(FakeEngine(), tmp_path, gateway.small_windows(buffer_seconds=0.2)) as server,
        AsyncAvatarClient(server.address) as client,
        client.animate(gateway.portrait(), SECOND, PCM, **asked) as stream,
    ):
        events = [event async for event in stream.events()]
    states = [event for event in events if isinstance(event, BufferState)]
    assert (stream.started.pace, stream.started.buffer_s) == (
        asked.get("pace", "as_fast_as_possible"),
        asked.get("buffer_s", 0.2),
    )
    assert states[0].is_filling == (states[0].level_s < stream.started.buffer_s)
    assert states[-1].underruns == stream.summary.underruns
    assert states[-1].realtime_factor > 0
    assert sum(isinstance(event, Frame) for event in events) == 25


def test_an_interrupt_overtakes_the_speech_that_waits() -> None:
    service = FakeService()
    reading = threading.Event()

    def endless() -> Iterator[bytes]:
        while True:
            yield SECOND
            reading.set()

    with (
        served(service) as address,
        AvatarClient(address) as client,
        client.animate(FACE, endless(), PCM) as stream,
    ):
        assert reading.wait(10)
        stream.interrupt()
        assert any(isinstance(event, Interrupted) for event in stream.events())


CALMER = GenerationSettings(audio_guidance=1.5, teacache=TeaCache(off=True))


def is_calmer(updated: Any, frame_index: int) -> bool:
    expected = Updated("calmer", updated.generation, 0, 1, frame_index)
    return updated == expected and updated.generation.audio_guidance == 1.5


def test_settings_change_while_a_stream_goes_on() -> None:
    with (
        served(FakeService()) as address,
        AvatarClient(address) as client,
        client.animate(FACE, audio_format=PCM) as stream,
    ):
        stream.send(SECOND)
        stream.update("calmer", CALMER)
        stream.update("other noise", GenerationSettings(seed=1))
        stream.end()
        answers = [e for e in stream.events() if isinstance(e, Updated | UpdateRefused)]
    updated, refused = answers
    assert is_calmer(updated, 25)
    assert isinstance(refused, UpdateRefused)
    assert (refused.update_id, refused.reason) == ("other noise", "INVALID_FIELD")
    assert refused.field == "update.generation.seed"


async def test_settings_change_while_an_asynchronous_stream_goes_on(tmp_path: Path) -> None:
    async with (
        gateway.served(FakeEngine(), tmp_path, gateway.small_windows()) as running,
        AsyncAvatarClient(running.address) as client,
        client.animate(gateway.portrait(), audio_format=PCM) as stream,
    ):
        await stream.send(gateway.speech(7 * 640).tobytes())
        answers = []
        async for event in stream.events():
            if isinstance(event, Frame) and event.index == 2:
                await stream.update("calmer", CALMER)
                await stream.update("other noise", GenerationSettings(seed=1))
            if isinstance(event, Updated | UpdateRefused):
                answers.append(event)
            if isinstance(event, UpdateRefused):
                await stream.end()
    updated, refused = answers
    assert is_calmer(updated, 3)
    assert refused.field == "update.generation.seed"


def test_an_interrupt_overtakes_no_update() -> None:
    waiting = [
        requests.update_request("a", CALMER),
        requests.audio_request(b"\0\0"),
        requests.END_OF_UTTERANCE,
        requests.update_request("b", CALMER),
    ]
    assert [message.update.update_id for message in outliving(waiting)] == ["a", "b"]


SETTINGS = GenerationSettings(
    negative_prompt_steps=3, audio_scale=0.5, teacache=TeaCache(threshold=0.25, policy="upstream")
)


async def test_what_a_call_is_told_reaches_the_server() -> None:
    service, speech = FakeService(), clip()
    options: dict[str, Any] = {
        "face_box": FaceBox(1, 2, 30, 40),
        "generation": SETTINGS,
        "request_id": "mine",
        "deadline_s": 60.0,
    }
    exact = ExactClip(window_frames=81, match_colors=True)

    def check(request: pb.Start | pb.RenderRequest) -> None:
        assert request.portrait.face_box == pb.FaceBox(left=1, top=2, right=30, bottom=40)
        assert request.generation == pb.GenerationSettings(
            negative_prompt_steps=3,
            audio_scale=0.5,
            teacache=pb.TeaCache(threshold=0.25, policy=pb.TEA_CACHE_POLICY_UPSTREAM),
        )
        assert service.metadata["x-request-id"] == "mine"
        assert service.deadline_s == pytest.approx(60, abs=10)
        if isinstance(request, pb.RenderRequest):
            assert request.exact_clip == pb.ExactClip(window_frames=81, match_colors=True)

    seen: list[Progress] = []
    with served(service) as address:
        with AvatarClient(address) as client:
            list(client.animate(FACE, speech, **options))
            check(service.start)
            film = client.render(FACE, speech, exact=exact, on_progress=seen.append, **options)
            check(service.render)
            frames = list(client.render_frames(FACE, speech, exact=exact, **options))
            check(service.render)
        async with AsyncAvatarClient(address) as client:
            assert [f async for f in client.animate(FACE, speech, **options)] == frames
            check(service.start)
            again = await client.render(FACE, speech, exact=exact, **options)
            check(service.render)
            made = client.render_frames(FACE, speech, exact=exact, **options)
            assert [f async for f in made] == frames
            check(service.render)
    assert (again.film, film.started.request_id) == (film.film, "mine")
    assert seen == [Progress(1, 2)]
    assert len(frames) == speech.frame_count


def test_a_word_that_is_no_option_is_refused() -> None:
    with served(FakeService()) as address, AvatarClient(address) as client:
        wrong: Any = {"requestid": "mine"}
        with pytest.raises(TypeError, match="unexpected keyword argument 'requestid'"):
            client.animate(FACE, clip(), **wrong)


async def test_a_deadline_ends_a_call() -> None:
    with served(FakeService()) as address:
        with AvatarClient(address) as client, pytest.raises(CallError) as caught:
            list(client.animate(FACE, audio_format=PCM, deadline_s=0.2))
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        async with AsyncAvatarClient(address) as client:
            with pytest.raises(CallError) as caught:
                async for _ in client.animate(FACE, audio_format=PCM, deadline_s=0.2):
                    pass
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_slow_reader_learns_why_the_server_ended_the_call() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1280)

    async def read_slowly(frames: AsyncIterable[Frame]) -> None:
        async for _ in frames:
            await asyncio.sleep(0.002)

    refusing = FakeService(refuse=SERVER_FULL, refuse_after_chunks=100)
    with served(refusing) as address:
        async with AsyncAvatarClient(address) as client:
            with pytest.raises(CallError) as caught:
                await read_slowly(client.animate(FACE, endless(), PCM))
    assert caught.value.reason == "NO_FREE_STREAM"


async def test_a_call_that_has_ended_takes_no_more() -> None:
    with served(FakeService()) as address:
        with AvatarClient(address) as client:
            stream = client.animate(FACE, clip())
            list(stream)
            with pytest.raises(CallEndedError):
                stream.send(SECOND)
        async with AsyncAvatarClient(address) as client:
            stream = client.animate(FACE, clip())
            assert [frame async for frame in stream]
            with pytest.raises(CallEndedError):
                await stream.interrupt()
