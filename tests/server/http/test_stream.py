"""The WebSocket: an Animate stream, hostile messages included."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.fake_engine import FakeEngine
from tests.support.http import by_http
from tests.support.serving import (
    Served,
    animate,
    frames,
    portrait,
    said,
    served,
    small_windows,
    speech,
    start,
    until,
)

SPEECH = speech(16_000)
START: dict[str, Any] = {
    "start": {
        "portrait": {"image": base64.b64encode(portrait()).decode()},
        "audio_format": {"encoding": "AUDIO_ENCODING_PCM_S16LE", "sample_rate_hz": 16_000},
        "video_format": {"encoding": "FRAME_ENCODING_RGB"},
    }
}


class Site:
    def __init__(self, engine: FakeEngine, grpc: Served, http: httpx2.AsyncClient) -> None:
        self.engine, self.grpc, self.http = engine, grpc, http

    def connect(self, **options: Any) -> connect:
        url = str(self.http.base_url).replace("http:", "ws:").rstrip("/")
        return connect(f"{url}/v1/stream", max_size=None, **options)

    @property
    def active(self) -> int:
        return self.grpc.gateway.admission.active


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    engine = FakeEngine()
    async with (
        served(engine, tmp_path, small_windows(max_streams=1)) as grpc,
        by_http(grpc) as http,
    ):
        yield Site(engine, grpc, http)


async def say(socket: ClientConnection, message: Any) -> None:
    await socket.send(message if isinstance(message, bytes | str) else json.dumps(message))


async def answers(socket: ClientConnection) -> list[dict[str, Any]]:
    """All answers until the end; a frame's picture is its `data`."""
    found: list[dict[str, Any]] = []
    try:
        async for message in socket:
            if isinstance(message, bytes):
                found[-1]["frame"]["data"] = message
            else:
                found.append(json.loads(message))
    except ConnectionClosed:
        pass
    return found


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [next(iter(answer)) for answer in found]


async def test_frames_are_those_of_grpc(site: Site) -> None:
    expected = frames(await animate(site.grpc, [start(), *said(SPEECH)]))
    async with site.connect() as socket:
        await say(socket, START)
        await say(socket, SPEECH[:100].tobytes())
        await say(socket, {"audio": {"data": base64.b64encode(SPEECH[100:].tobytes()).decode()}})
        await say(socket, {"end": {}})
        found = await answers(socket)
    assert [a["frame"]["data"] for a in found if "frame" in a] == [f.data for f in expected]
    assert [int(a["frame"]["index"]) for a in found if "frame" in a] == list(range(25))
    assert kinds(found)[0] == "started"
    assert kinds(found)[-1] == "summary"
    assert (socket.close_code, socket.close_reason) == (1000, "")


async def test_utterances_updates_and_interruptions_are_answered(site: Site) -> None:
    async with site.connect() as socket:
        for message in (
            START,
            SPEECH.tobytes(),
            {"end_of_utterance": {}},
            {"update": {"update_id": "u", "generation": {"steps": 1}}},
            {"interrupt": {}},
            {"end": {}},
        ):
            await say(socket, message)
        found = await answers(socket)
    assert {"updated", "interrupted", "summary"} <= set(kinds(found))
    updated = next(answer["updated"] for answer in found if "updated" in answer)
    assert (updated["update_id"], updated["generation"]["steps"]) == ("u", 1)


async def hear(socket: ClientConnection, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Takes answers until one is wanted."""
    while isinstance(message := await socket.recv(), bytes) or not wanted(json.loads(message)):
        pass


async def test_pings_positions_and_listening_go_over_a_socket(site: Site) -> None:
    more = {"audio_position_interval": "0.2s", "idle_mode": "IDLE_MODE_MODEL", "min_steps": 1}
    position = {"received_samples": "16000", "animated_samples": "16000"}
    listening = "FRAME_KIND_LISTENING"
    async with site.connect() as socket:
        await say(socket, {"start": START["start"] | more})
        started = json.loads(await socket.recv())["started"]
        await say(socket, {"listening": {"active": True}})
        await hear(socket, lambda answer: answer.get("frame", {}).get("kind") == listening)
        await say(socket, {"ping": {"ping_id": "mine"}})
        await hear(socket, lambda answer: answer == {"pong": {"ping_id": "mine"}})
        await say(socket, SPEECH.tobytes())
        await say(socket, {"end_of_utterance": {}})
        await hear(socket, lambda answer: answer == {"audio_position": position})
        await say(socket, {"end": {}})
        assert kinds(await answers(socket))[-1] == "summary"
    assert (started["audio_position_interval"], started["min_steps"]) == ("0.200s", 1)
    assert "heartbeat_interval" not in started


async def test_what_was_played_is_known_and_resumed(site: Site) -> None:
    async with site.connect() as socket:
        for message in (START, SPEECH.tobytes(), {"end_of_utterance": {}}):
            await say(socket, message)
        shown = 0
        while shown < 3:
            message = await socket.recv()
            shown += isinstance(message, str) and "frame" in json.loads(message)
        await socket.recv()
        for message in ({"played": {"last_frame_index": "1"}}, {"interrupt": {}}, {"resume": {}}):
            await say(socket, message)
        await say(socket, {"end": {}})
        found = await answers(socket)
    (interrupted,) = (answer["interrupted"] for answer in found if "interrupted" in answer)
    (resumed,) = (answer["resumed"] for answer in found if "resumed" in answer)
    assert interrupted["last_played_frame_index"] == "1"
    assert interrupted["resume_audio_sample"] == resumed["first_audio_sample"] == "1280"
    assert resumed["end_audio_sample"] == "16000"
    again = [a["frame"] for a in found if "frame" in a and a["frame"]["utterance_id"] == "1"]
    expected = frames(await animate(site.grpc, [start(), *said(SPEECH[1280:])]))
    assert [frame["data"] for frame in again] == [frame.data for frame in expected]


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "[]",
        "null",
        "NaN",
        "[" * 60_000,
        "[" * 200_000,
        '{"start": 5}',
        '{"start": {}, "end": {}}',
        '{"begin": {}}',
        '{"start": {"client_session_id": "\\ud800"}}',
        '{"start": {"audio_format": {"sample_rate_hz": 1e99}}}',
        "{}",
        {"end": {}},
        b"",
        b"\x00\x01",
        {"start": START["start"] | {"portrait": {"image": "!"}}},
        {"start": START["start"] | {"generation": {"steps": 999}}},
    ],
)
async def test_a_message_that_cannot_be_used_is_refused(site: Site, message: Any) -> None:
    async with site.connect() as socket:
        await say(socket, message)
        (answer,) = await answers(socket)
    assert answer["error"]["reason"] == "INVALID_FIELD"
    assert (socket.close_code, socket.close_reason) == (1008, "INVALID_FIELD")
    assert site.active == 0


async def test_a_second_start_ends_the_stream(site: Site) -> None:
    async with site.connect() as socket:
        await say(socket, START)
        await say(socket, START)
        found = await answers(socket)
    assert found[-1]["error"]["field"] == "start"


async def test_a_message_too_long_closes_the_socket(site: Site) -> None:
    async with site.connect() as socket:
        await say(socket, START)
        with contextlib.suppress(ConnectionClosed):
            await say(socket, bytes(25 * 2**20))
        await answers(socket)
        assert socket.close_code == 1009
    await until(lambda: site.active == 0)


async def test_a_full_server_says_so(site: Site) -> None:
    async with site.connect() as first:
        await say(first, START)
        await until(lambda: site.active == 1)
        async with site.connect() as second:
            await say(second, START)
            (answer,) = await answers(second)
    assert answer["error"]["reason"] == "NO_FREE_STREAM"
    assert (second.close_code, second.close_reason) == (1013, "NO_FREE_STREAM")


@pytest.mark.parametrize("delay_s", [0, 60])
async def test_a_client_that_leaves_frees_its_place(site: Site, delay_s: float) -> None:
    site.engine.delay_s = delay_s
    async with site.connect() as socket:
        await say(socket, START)
        await say(socket, SPEECH.tobytes())
        await until(lambda: site.active == 1)
        socket.transport.abort()
        await until(lambda: site.active == 0)


async def test_pages_of_other_sites_are_refused(site: Site) -> None:
    async with site.connect(origin="https://elsewhere.example") as socket:
        (answer,) = await answers(socket)
    assert answer["error"]["field"] == "origin"


async def test_shutting_down_closes_with_a_code_and_a_reason(site: Site) -> None:
    async with site.connect() as socket:
        await say(socket, START)
        await until(lambda: site.active == 1)
        await site.grpc.gateway.admission.close(0)
        found = await answers(socket)
    assert found[-1]["error"]["reason"] == "SHUTTING_DOWN"
    assert (socket.close_code, socket.close_reason) == (1012, "SHUTTING_DOWN")


async def test_a_socket_that_has_not_begun_is_closed_too(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows()) as grpc:
        async with by_http(grpc) as http:
            silent = await Site(FakeEngine(), grpc, http).connect()
        await asyncio.wait_for(silent.wait_closed(), 20)
    assert silent.close_code == 1012
