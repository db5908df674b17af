"""Whatever comes by HTTP: an answer or a problem that says why not, and never a fault of ours."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from server.api.status import KINDS
from tests.support.fake_engine import FakeEngine
from tests.support.fuzzing import BYTES, WORDS, fuzzed, messages
from tests.support.http import by_http, wav
from tests.support.serving import Served, portrait, served, small_windows, speech, until

REASONS = {kind.reason for kind in KINDS.values()}
PORTRAIT, SOUND = portrait(64), wav(speech(1280))
IN_BASE64 = {
    "image": base64.b64encode(PORTRAIT).decode(),
    "audio": base64.b64encode(SOUND).decode(),
}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | WORDS.map(lambda text: text.encode(errors="replace").decode())
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["image", "audio", "audio_file", "sample_rate_hz", "channels", "frame_index", "settings"]
)
CHANGES = st.dictionaries(NAMES, JSON, max_size=3)
START = {
    "start": {
        "portrait": {"image": IN_BASE64["image"]},
        "audio_format": {
            "encoding": "AUDIO_ENCODING_PCM_S16LE",
            "sample_rate_hz": 16000,
            "channels": 1,
        },
    }
}


def in_json(message: pb.AnimateRequest) -> str:
    """Returns a message in JSON, or none where it has no form there, as a time out of range."""
    try:
        return json_format.MessageToJson(message)
    except (json_format.SerializeToJsonError, ValueError):
        return "{}"


SAID = (
    st.just(json.dumps(START))
    | messages(pb.AnimateRequest).map(in_json)
    | JSON.map(json.dumps)
    | st.text(max_size=40)
    | BYTES
)


@dataclass(frozen=True)
class Site:
    served: Served
    client: httpx2.AsyncClient


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    settings = small_windows(
        max_stream_audio_s=2, max_render_audio_s=2, max_portrait_pixels=10**6, idle_timeout_s=0.5
    )
    async with served(FakeEngine(), tmp_path, settings) as server, by_http(server) as client:
        yield Site(server, client)


async def check(site: Site, answer: httpx2.Response) -> None:
    if not answer.is_success:
        assert answer.status_code < 500 or answer.json()["reason"] in REASONS, answer.text
        assert answer.json()["reason"] in REASONS
        assert answer.json()["detail"]
    await until(lambda: site.served.gateway.admission.active == 0)
    assert (await site.client.get("/healthz")).is_success


@fuzzed(40)
@given(changes=CHANGES)
async def test_any_json_is_answered_or_refused(site: Site, changes: dict[str, Any]) -> None:
    body = json.dumps({**IN_BASE64, **changes})
    headers = {"content-type": "application/json"}
    await check(site, await site.client.post("/render", content=body, headers=headers))


@fuzzed(25)
@given(
    path=st.sampled_from(["/render", "/v1/animate", "/v1/portraits/check", "/v1/avatars"]),
    portrait=st.just(PORTRAIT) | BYTES,
    sound=st.just(SOUND) | BYTES,
    fields=st.dictionaries(
        NAMES | st.sampled_from(["strict", "framing", "width", "avatar_id"]),
        JSON.map(json.dumps) | WORDS,
        max_size=3,
    ),
)
async def test_any_form_is_answered_or_refused(
    site: Site, path: str, portrait: bytes, sound: bytes, fields: dict[str, str]
) -> None:
    name = "image" if path == "/render" else "portrait"
    files: dict[str, bytes] = {name: portrait}
    if path in ("/render", "/v1/animate"):
        files["audio"] = sound
    data = {name: text.encode(errors="replace") for name, text in fields.items()}
    await check(site, await site.client.post(path, files=files, data=data))


@fuzzed(20)
@given(
    kind=st.sampled_from(["application/json", "multipart/form-data; boundary=b", "", "x" * 50]),
    body=BYTES | st.binary(max_size=60).map(lambda data: b"--b\r\n" + data + b"\r\n--b--\r\n"),
)
async def test_any_body_is_answered_or_refused(site: Site, kind: str, body: bytes) -> None:
    headers = {"content-type": kind}
    await check(site, await site.client.post("/v1/animate", content=body, headers=headers))


@fuzzed(20)
@given(sent=st.lists(SAID, max_size=5))
async def test_any_socket_ends_with_a_summary_or_an_error(
    site: Site, sent: list[str | bytes]
) -> None:
    url = str(site.client.base_url).replace("http:", "ws:").rstrip("/")
    told: list[dict[str, Any]] = []
    async with connect(f"{url}/v1/stream", max_size=None) as socket:
        try:
            for message in [json.dumps(START), *sent, json.dumps({"end": {}})]:
                await socket.send(message)
            async for answer in socket:
                told += [json.loads(answer)] if isinstance(answer, str) else []
        except ConnectionClosed:
            pass
        assert socket.close_code in (1000, 1008, 1009, 1013), (socket.close_code, told[-1:])
    if told:
        last = told[-1]
        assert "summary" in last or last["error"]["reason"] in REASONS
    await until(lambda: site.served.gateway.admission.active == 0)
