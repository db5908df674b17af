"""Text to speech by HTTP: streamed, bounded, and its errors problems."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import soxr
from pydantic import ValidationError

from echomimic_client.voice import load_voice
from server.http import speech
from tests.support import voices
from tests.support.fake_engine import FakeEngine
from tests.support.http import by_http
from tests.support.paths import ROOT
from tests.support.serving import served, small_windows, until

PAGE = (ROOT / "docs" / "http.md").read_text()
SYLLABLES = "tests.support.voices:syllables"
ONE_TWO = voices.syllable(0) + voices.syllable(1)


@pytest.fixture
def held() -> Iterator[None]:
    """The voice of the tests says its first word alone."""
    voices.hold.clear()
    yield
    voices.hold.set()


@asynccontextmanager
async def site(folder: Path, **settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    settings = {"voice": SYLLABLES} | settings
    async with (
        served(FakeEngine(), folder, small_windows(**settings)) as grpc,
        by_http(grpc) as http,
    ):
        yield http


async def test_a_text_comes_as_pcm_at_the_voices_own_rate(tmp_path: Path) -> None:
    async with site(tmp_path) as http:
        answer = await http.post("/v1/speech", json={"text": "one two"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/pcm; rate=8000; channels=1; encoding=s16le"
    assert answer.content == ONE_TWO


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
async def test_it_comes_at_the_rate_that_is_asked_for(tmp_path: Path, rate: int) -> None:
    async with site(tmp_path) as http:
        body = {"text": "one two", "sample_rate_hz": rate}
        answer = await http.post("/v1/speech", json=body)
    found = np.frombuffer(answer.content, "<i2").astype(int)
    expected = soxr.resample(np.frombuffer(ONE_TWO, "<i2").astype(np.float32), 8_000, rate)
    assert f"rate={rate};" in answer.headers["content-type"]
    assert len(found) == len(expected) == 2 * rate
    assert np.abs(found - expected).max() <= 1


async def test_the_first_words_come_before_the_last_are_spoken(tmp_path: Path, held: None) -> None:
    async with (
        site(tmp_path) as http,
        http.stream("POST", "/v1/speech", json={"text": "one two"}) as answer,
    ):
        came = b""
        async for data in answer.aiter_bytes():
            came += data
            if len(came) == len(voices.syllable(0)):
                voices.hold.set()
    assert came == ONE_TWO


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": 5}, "text"),
        ({"text": "ab" * 200}, "text"),
        ({"text": "ö" * 101}, "text"),
        ({"text": "a", "sample_rate_hz": 7_999}, "sample_rate_hz"),
        ({"text": "a", "sample_rate_hz": 48_001}, "sample_rate_hz"),
        ({"text": "a", "sample_rate_hz": "fast"}, "sample_rate_hz"),
        ({"text": "a", "voice": "os:system"}, "voice"),
        ([], "body"),
    ],
)
async def test_a_body_that_cannot_be_used_names_its_field(
    tmp_path: Path, body: Any, field: str
) -> None:
    async with site(tmp_path, max_speech_bytes=200) as http:
        answer = await http.post("/v1/speech", json=body)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["reason"]) == (400, "INVALID_FIELD")
    assert problem["field"] == field


async def test_half_a_character_is_refused(tmp_path: Path) -> None:
    async with site(tmp_path) as http:
        headers = {"content-type": "application/json"}
        body = b'{"text": "\\ud800"}'
        answer = await http.post("/v1/speech", content=body, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (400, "text")


async def test_other_sites_are_refused(tmp_path: Path) -> None:
    async with site(tmp_path) as http:
        headers = {"origin": "https://elsewhere.example"}
        answer = await http.post("/v1/speech", json={"text": "one"}, headers=headers)
    assert answer.json()["field"] == "origin"


@pytest.mark.parametrize(
    ("voice", "status", "reason"),
    [("silent", 400, "INVALID_FIELD"), ("broken", 500, "INTERNAL")],
)
async def test_a_voice_that_fails_is_a_problem(
    tmp_path: Path, voice: str, status: int, reason: str
) -> None:
    async with site(tmp_path, voice=f"tests.support.voices:{voice}") as http:
        answer = await http.post("/v1/speech", json={"text": "one"})
        again = await http.post("/v1/speech", json={"text": "one"})
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert "ZeroDivision" not in answer.text
    assert again.status_code == status


async def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.delitem(sys.modules, "echomimic_client.espeak", raising=False)
    async with (
        served(FakeEngine(), tmp_path, small_windows()) as grpc,
        by_http(grpc) as http,
    ):
        answer = await http.post("/v1/speech", json={"text": "one"})
    assert (answer.status_code, answer.json()["reason"]) == (501, "MISSING_EXTRA")
    assert "`voice`" in answer.json()["detail"]


async def test_more_texts_than_are_spoken_by_turns_are_turned_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: None
) -> None:
    monkeypatch.setattr(speech, "MAX_SPEECHES", 1)
    text = {"text": "one two"}
    async with site(tmp_path) as http, http.stream("POST", "/v1/speech", json=text) as first:
        spoken = first.aiter_bytes()
        came = await anext(spoken)
        refused = await http.post("/v1/speech", json={"text": "one"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["limit"] == "max_speeches"
        voices.hold.set()
        assert came + b"".join([data async for data in spoken]) == ONE_TWO


async def test_texts_are_spoken_by_turns(tmp_path: Path) -> None:
    async with site(tmp_path) as http:
        texts = [http.post("/v1/speech", json={"text": "one two"}) for _ in range(4)]
        answers = await asyncio.gather(*texts)
    assert [answer.content for answer in answers] == [ONE_TWO] * 4


async def test_a_voice_that_hangs_is_not_waited_for(tmp_path: Path, held: None) -> None:
    slow = "tests.support.voices:slow_syllables"
    async with site(tmp_path, inference_timeout_s=0.2, voice=slow) as http:
        answer = await http.post("/v1/speech", json={"text": "one"})
    # The loop ends after its threads.
    voices.hold.set()
    assert (answer.status_code, answer.json()["reason"]) == (504, "EXECUTION_TIMEOUT")


async def test_a_client_that_leaves_frees_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: None
) -> None:
    speakers: list[speech.Speaker] = []
    begun = speech.Speaker.__init__

    def note(self: speech.Speaker, settings: Any) -> None:
        begun(self, settings)
        speakers.append(self)

    monkeypatch.setattr(speech.Speaker, "__init__", note)
    async with site(tmp_path) as http:
        async with http.stream("POST", "/v1/speech", json={"text": "one two"}) as answer:
            await anext(answer.aiter_bytes())
            (speaker,) = speakers
            assert speaker.active == 1
        await until(lambda: speaker.active == 0)
        voices.hold.set()


def test_the_voice_that_the_page_shows_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"^```py\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "my_voice.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert "--voice my_voice:speak" in PAGE
    rate, pieces = load_voice(small_windows(voice="my_voice:speak").voice)("Guten Tag!")
    assert len(b"".join(pieces)) > rate


def test_a_voice_that_is_none_is_refused_with_the_settings() -> None:
    with pytest.raises(ValidationError, match="No module named 'nowhere'"):
        small_windows(voice="nowhere:speak")
