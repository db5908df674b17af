"""Sockets that write everything and only then read: served or refused, never stuck."""

import asyncio
import base64
import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.fake_engine import FakeEngine
from tests.support.http import by_http
from tests.support.serving import Served, portrait, served, small_windows, speech, until

RATE = 16_000
TENTH = speech(RATE // 10).tobytes()
START = {
    "start": {
        "portrait": {"image": base64.b64encode(portrait()).decode()},
        "audio_format": {"encoding": "AUDIO_ENCODING_PCM_S16LE", "sample_rate_hz": RATE},
        "video_format": {"encoding": "FRAME_ENCODING_RGB"},
    }
}
PAUSE, INTERRUPT, END = {"end_of_utterance": {}}, {"interrupt": {}}, {"end": {}}
PING = {"ping": {"ping_id": "a" * 128}}
STUCK_S = 180

CASES: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "speech": ([TENTH] * 400, {}, ""),
    "utterances": ([TENTH, PAUSE] * 200, {}, ""),
    "interruptions": ([TENTH, INTERRUPT] * 200, {}, ""),
    "more than may wait": ([TENTH] * 400, {"max_buffered_audio_s": 2}, "LIMIT_EXCEEDED"),
    "longer than frames may wait": ([TENTH] * 600, {"read_timeout_s": 0.3}, "SLOW_READER"),
}


def dial(base_url: Any) -> connect:
    """Connects a client that holds back what it does not read."""
    url = str(base_url).replace("http:", "ws:").rstrip("/")
    # A small buffer of the system's, so that little fits on the way to the client.
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    narrow.connect((base_url.host, base_url.port))
    return connect(f"{url}/v1/stream", sock=narrow, max_size=None, max_queue=1, ping_interval=None)


async def write(client: ClientConnection, messages: list[Any]) -> None:
    """Writes all messages, or as many as the connection lasts for."""
    with contextlib.suppress(ConnectionClosed):
        for message in messages:
            await client.send(message if isinstance(message, bytes) else json.dumps(message))


async def read(client: ClientConnection) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with contextlib.suppress(ConnectionClosed):
        async for message in client:
            if isinstance(message, str):
                found.append(json.loads(message))
    return found


def freed(server: Served) -> bool:
    return server.gateway.admission.active == 0


@pytest.mark.parametrize("name", CASES)
async def test_a_socket_that_writes_everything_first_is_served_or_refused(
    tmp_path: Path, name: str
) -> None:
    said, changes, reason = CASES[name]
    async with (
        asyncio.timeout(STUCK_S),
        served(FakeEngine(), tmp_path, small_windows(**changes)) as server,
        by_http(server) as http,
        dial(http.base_url) as client,
    ):
        await write(client, [START])
        await until(lambda: not freed(server))
        await write(client, [*said, END])
        if reason:
            # Without a word from the client, which reads nothing yet.
            await until(lambda: freed(server))
        found = await read(client)
        if not reason:
            assert "summary" in found[-1]
            frames = sum("frame" in answer for answer in found)
            assert int(found[-1]["summary"]["frames"]) == frames
        elif reason == "LIMIT_EXCEEDED":
            assert found[-1]["error"]["reason"] == reason
        else:
            # Whoever reads nothing may not be told why.
            assert "summary" not in found[-1]
        await until(lambda: freed(server))


async def test_a_socket_whose_writing_side_is_closed_is_gone(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(STUCK_S),
        served(FakeEngine(), tmp_path, small_windows()) as server,
        by_http(server) as http,
        dial(http.base_url) as client,
    ):
        await write(client, [START, *[TENTH] * 100])
        client.transport.write_eof()
        await read(client)
        await until(lambda: freed(server))
