"""Text to speech: espeak-ng, other voices by name, and `animate --say`."""

import asyncio
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from client.demo.media import PORTRAIT
from echomimic_client.blocking import AvatarClient
from echomimic_client.espeak import RATE_HZ, sentences, speak
from echomimic_client.program import app
from echomimic_client.recording import Recording, record
from echomimic_client.speaking import say
from echomimic_client.voice import NoVoiceError, load_voice
from tests.support import serving as gateway
from tests.support import voices
from tests.support.fake_engine import FakeEngine
from tests.support.fake_service import FakeService, served

VOICE = "tests.support.voices:syllables"
TEXT = "This is the first sentence of three. And here is the second one! Is there a third?"


@pytest.fixture
def held() -> Iterator[None]:
    """The voice of the tests says its first word alone."""
    voices.hold.clear()
    yield
    voices.hold.set()


def test_a_text_is_spoken_a_sentence_at_a_time() -> None:
    rate, pieces = speak(TEXT)
    spoken = [np.frombuffer(piece, "<i2") for piece in pieces]
    assert rate == RATE_HZ
    assert len(spoken) == 3
    assert all(len(piece) > rate // 2 for piece in spoken)
    assert all(np.abs(piece).max() > 3000 for piece in spoken)


def test_a_text_always_sounds_the_same_and_voices_differ() -> None:
    def sound(voice: str) -> bytes:
        return b"".join(speak(TEXT, voice=voice)[1])

    assert sound("en-us") == sound("en-us")
    assert sound("en-us") != sound("de")


def test_a_voice_that_espeak_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="no voice klingon-x"):
        list(speak("Hello.", voice="klingon-x")[1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [""]),
        (" \n ", [" \n "]),
        ("Hello.", ["Hello."]),
        (
            "Mr. Smith is not at home today. Goodbye.",
            ["Mr. Smith is not at home today. ", "Goodbye."],
        ),
        (
            "He said: 'Wait for me here, please.' Then he went.",
            ["He said: 'Wait for me here, please.' ", "Then he went."],
        ),
        (
            "This line has no full stop\nand this is another",
            ["This line has no full stop\n", "and this is another"],
        ),
        ("Version 1.5 of this is three weeks old", ["Version 1.5 of this is three weeks old"]),
        ("天" * 30 + "。" + "地" * 30, ["天" * 30 + "。", "地" * 30]),
    ],
)
def test_texts_are_cut_where_sentences_end(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected
    assert "".join(sentences(text)) == text


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nowhere.to_be_found:speak", "No module named 'nowhere'"),
        ("tests.support.voices:sing", "there is no voice tests.support.voices:sing"),
        ("speak", "write it as module:function|No module"),
        ("", "write it as module:function"),
        ("tests.support.voices:NO_FUNCTION", "is no function"),
    ],
)
def test_a_voice_that_is_none_is_named(name: str, problem: str) -> None:
    with pytest.raises(NoVoiceError, match=problem):
        load_voice(name)


def animate(server: str, *words: str) -> tuple[int, str]:
    files = ["--portrait", str(PORTRAIT), "--server", server]
    result = CliRunner().invoke(app, [*words, *files])
    return result.exit_code, result.stderr


@pytest.mark.parametrize("command", ["stream", "render"])
def test_animate_says_a_text(tmp_path: Path, command: str) -> None:
    service, out = FakeService(), tmp_path / "film.mp4"
    with served(service) as address:
        words = [command, "--say", "one two", "--voice", VOICE, "--out", str(out)]
        status, said = animate(address, *words)
    assert status == 0, said
    spoken = voices.syllable(0) + voices.syllable(1)
    heard = b"".join(service.chunks) if command == "stream" else service.render.audio
    assert heard == spoken
    if command == "stream":
        with av.open(io.BytesIO(out.read_bytes()), "r") as film:
            assert (film.duration or 0) / 1e6 == pytest.approx(2, abs=1 / 25)


def test_animate_says_a_text_with_espeak(tmp_path: Path) -> None:
    service = FakeService()
    with served(service) as address:
        status, said = animate(address, "--say", "Hello there.", "--frames", str(tmp_path / "f"))
    assert status == 0, said
    assert service.start.audio_format.sample_rate_hz == RATE_HZ
    assert b"".join(service.chunks) == b"".join(speak("Hello there.")[1])


@pytest.mark.parametrize(
    ("words", "status", "problem"),
    [
        ((), 2, "--audio FILE or --say TEXT"),
        (("--say", "Hello.", "--audio", "speech.wav"), 2, "--audio FILE or --say TEXT"),
        (("--say", "  "), 1, "error: there is nothing to say"),
        (("--say", "Hello.", "--voice", "nowhere:speak"), 1, "No module named 'nowhere'"),
    ],
)
def test_a_text_that_cannot_be_said_is_one_line(
    tmp_path: Path, words: tuple[str, ...], status: int, problem: str
) -> None:
    found = animate("127.0.0.1:1", "--frames", str(tmp_path / "frames"), *words)
    assert found[0] == status
    assert problem in found[1]


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.delitem(sys.modules, "echomimic_client.espeak")
    found = animate("127.0.0.1:1", "--say", "Hello.", "--frames", str(tmp_path / "frames"))
    assert found == (1, "error: text to speech needs the extra `voice` installed here\n")


@pytest.mark.usefixtures("held")
async def test_the_mouth_moves_before_the_last_word_is_spoken(tmp_path: Path) -> None:
    seen: list[int] = []

    def film(address: str) -> Recording:
        def see(frame: object, _: object) -> None:
            seen.append(len(seen))
            voices.hold.set()

        with AvatarClient(address) as client:
            return record(
                client,
                PORTRAIT,
                say("one two three", VOICE),
                film="mp4",
                live=False,
                chunk_ms=40,
                on_picture=see,
            )

    async with gateway.served(FakeEngine(), tmp_path, gateway.small_windows()) as running:
        # The voice says no second word until a frame was seen.
        done = await asyncio.to_thread(film, running.address)
    assert done.frames == len(seen) == 75
