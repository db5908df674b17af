"""A client says how long its call may take, by gRPC's header."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from server.errors import DeadlineError, InvalidFieldError
from server.http.deadlines import deadline, timeout_s
from server.metrics import Metrics
from tests.support.fake_engine import FakeEngine
from tests.support.http import by_http, wav
from tests.support.serving import Served, portrait, served, small_windows, speech, until

PARTS = {"portrait": ("me.png", portrait()), "audio": ("a.wav", wav(speech(16_000)))}
SOON = {"grpc-timeout": "300m"}


class Site:
    def __init__(self, engine: FakeEngine, grpc: Served, http: httpx2.AsyncClient) -> None:
        self.engine, self.grpc, self.http = engine, grpc, http

    @property
    def active(self) -> int:
        return self.grpc.gateway.admission.active

    def ended(self, method: str) -> float | None:
        """How many calls of a method have ended by their deadline."""
        recorder = self.grpc.gateway.recorder
        assert isinstance(recorder, Metrics)
        labels = {"method": method, "code": "DEADLINE_EXCEEDED", "reason": "DEADLINE_EXCEEDED"}
        return recorder.registry.get_sample_value("echomimic_calls_total", labels)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    engine = FakeEngine()
    async with (
        served(engine, tmp_path, small_windows(), recorder=Metrics("", "")) as grpc,
        by_http(grpc) as http,
    ):
        yield Site(engine, grpc, http)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1H", 3600),
        ("2M", 120),
        ("30S", 30),
        ("500m", 0.5),
        ("250000u", 0.25),
        ("1n", 1e-9),
        ("0S", 0),
    ],
)
def test_every_unit_of_grpc_is_read(text: str, seconds: float) -> None:
    assert timeout_s({"grpc-timeout": text}) == pytest.approx(seconds)
    assert timeout_s({}) is None


@pytest.mark.parametrize("text", ["", "30", "S", "-1S", "1.5S", "123456789S", "30s", "1S "])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidFieldError, match="grpc-timeout: is no time"):
        timeout_s({"grpc-timeout": text})


async def test_a_timeout_of_something_else_is_no_deadline() -> None:
    with pytest.raises(TimeoutError):
        async with deadline(60):
            raise TimeoutError
    with pytest.raises(DeadlineError, match=r"within the 0\.01 s"):
        async with deadline(0.01):
            await asyncio.Event().wait()


async def test_work_that_takes_longer_is_ended_with_504(site: Site) -> None:
    site.engine.delay_s = 60
    answer = await site.http.post("/v1/animate", files=PARTS, headers=SOON)
    assert answer.status_code == 504
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["reason"] == "DEADLINE_EXCEEDED"
    assert "0.3 s" in answer.json()["detail"]
    await until(lambda: site.active == 0)
    assert site.ended("POST /v1/animate") == 1


async def test_work_that_is_done_in_time_is_answered(site: Site) -> None:
    answer = await site.http.post("/v1/animate", files=PARTS, headers={"grpc-timeout": "1M"})
    assert answer.status_code == 200
    assert site.ended("POST /v1/animate") is None


async def test_a_header_that_cannot_be_read_is_refused_before_any_work(site: Site) -> None:
    answer = await site.http.post("/v1/animate", files=PARTS, headers={"grpc-timeout": "soon"})
    assert answer.status_code == 400
    assert answer.json()["field"] == "grpc-timeout"
    assert site.engine.executions == []


async def test_an_answer_that_has_begun_is_broken_off(site: Site) -> None:
    site.engine.delay_s = 0.02
    headers = {"accept": "multipart/x-mixed-replace", "grpc-timeout": "1S"}
    long = PARTS | {"audio": ("a.wav", wav(speech(160_000)))}
    with pytest.raises(httpx2.RemoteProtocolError):
        await site.http.post("/v1/animate", files=long, headers=headers)
    await until(lambda: site.active == 0)


async def test_a_socket_is_closed_with_the_same_problem(site: Site) -> None:
    url = str(site.http.base_url).replace("http:", "ws:").rstrip("/")
    start = {
        "portrait": {"image": base64.b64encode(portrait()).decode()},
        "audio_format": {"encoding": "AUDIO_ENCODING_PCM_S16LE", "sample_rate_hz": 16_000},
    }
    async with connect(f"{url}/v1/stream", additional_headers=SOON) as socket:
        await socket.send(json.dumps({"start": start}))
        told = [json.loads(await socket.recv())]
        with suppress(ConnectionClosed):
            while True:
                told.append(json.loads(await socket.recv()))
    assert told[-1]["error"]["reason"] == "DEADLINE_EXCEEDED"
    await until(lambda: site.active == 0)
