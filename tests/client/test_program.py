"""The `animate` program, from its words to the film it writes."""

import io
import signal
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from echomimic.v1 import avatar_service_pb2 as pb
from typer.testing import CliRunner, Result

from client.demo.media import PORTRAIT
from echomimic_client.__main__ import app
from echomimic_client.audio import read_audio
from tests.support.fake_service import FIELD_REFUSED, FakeService, colour, served
from tests.support.speech_clips import unhurried


@pytest.fixture
def speech_file(tmp_path: Path) -> Path:
    path = tmp_path / "speech.flac"
    samples = 0.4 * np.sin(np.arange(30_001) * 0.1)
    soundfile.write(path, np.stack([samples, samples], axis=1), 22_050)
    return path


def run(server: str, audio: Path, out: Path, *words: str) -> Result:
    files = ["--portrait", str(PORTRAIT), "--audio", str(audio), "--out", str(out)]
    return CliRunner().invoke(app, [*files, "--server", server, *words])


@pytest.mark.parametrize("live", [False, True])
def test_the_program_writes_a_film_with_sound(
    tmp_path: Path, speech_file: Path, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    slept_s: list[float] = []
    monkeypatch.setattr("echomimic_client.recording.paced", unhurried(slept_s))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    out = tmp_path / "new" / "film.mp4"
    service = FakeService()
    with served(service) as address:
        result = run(address, speech_file, out, *(["--live"] if live else []))
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"{out}: 35 frames, the first after ")
    assert "x real time" in result.stdout
    assert "35/35" in result.stderr
    assert "warning: the portrait is small" in result.stderr
    assert bool(slept_s) == live
    assert b"".join(service.chunks) == read_audio(speech_file).data
    assert service.start.portrait.image == PORTRAIT.read_bytes()
    with av.open(io.BytesIO(out.read_bytes()), "r") as film:
        shades = [f.to_ndarray(format="rgb24").mean((0, 1)) for f in film.decode(video=0)]
        assert len(shades) == 35
        assert np.abs(np.array(shades) - [colour(n) for n in range(35)]).max() < 6
    with av.open(io.BytesIO(out.read_bytes()), "r") as film:
        duration = film.streams.audio[0].duration
        assert duration is not None
        assert duration / 48_000 == pytest.approx(30_001 / 22_050, abs=1 / 25)
        assert (film.duration or 0) / 1e6 == pytest.approx(30_001 / 22_050, abs=1 / 25)
        sound = np.concatenate([f.to_ndarray()[0] for f in film.decode(audio=0)])
        assert np.abs(sound[5_000:-10_000]).max() == pytest.approx(0.4, abs=0.02)


def test_every_option_reaches_the_server(tmp_path: Path, speech_file: Path) -> None:
    service = FakeService()
    words = ["--size", "96x64", "--steps", "6", "--audio-guidance", "1.5", "--prompt", "a face"]
    words += ["--seed", "7", "--sampler", "flow_dpmpp", "--chunk-ms", "500"]
    with served(service) as address:
        result = run(address, speech_file, tmp_path / "film.mp4", *words)
    assert result.exit_code == 0, result.stderr
    assert service.start.generation == pb.GenerationSettings(
        steps=6, audio_guidance=1.5, prompt="a face", seed=7, sampler=pb.SAMPLER_FLOW_DPMPP
    )
    assert (service.start.video_format.width, service.start.video_format.height) == (96, 64)
    assert len(service.chunks) == 3


def test_a_refusal_is_one_line_and_leaves_no_file(tmp_path: Path, speech_file: Path) -> None:
    with served(FakeService(refuse=FIELD_REFUSED)) as address:
        result = run(address, speech_file, tmp_path / "film.mp4")
    assert result.exit_code == 1
    assert result.stderr == f"error: {FIELD_REFUSED.message}\n"
    assert result.stdout == ""
    assert not (tmp_path / "film.mp4").exists()


def test_a_server_that_is_down_is_named(tmp_path: Path, speech_file: Path) -> None:
    result = run("127.0.0.1:1", speech_file, tmp_path / "film.mp4")
    assert result.exit_code == 1
    assert result.stderr == "error: no answer from 127.0.0.1:1; is the server running?\n"


def test_a_bad_file_is_named(tmp_path: Path, speech_file: Path) -> None:
    result = run("127.0.0.1:1", PORTRAIT, tmp_path / "film.mp4")
    assert (result.exit_code, result.stderr) == (
        1,
        f"error: {PORTRAIT} holds no sound\n",
    )
    words = ["--portrait", str(tmp_path / "absent.png")]
    result = run("127.0.0.1:1", speech_file, tmp_path / "film.mp4", *words)
    assert result.exit_code == 1
    assert "absent.png" in result.stderr


@pytest.mark.parametrize(
    "words", [("--size", "large"), ("--size", "1234567x8"), ("--seed", "-1"), ("--steps", "9" * 11)]
)
def test_a_value_that_no_message_can_hold_is_a_wrong_call(
    tmp_path: Path, speech_file: Path, words: tuple[str, str]
) -> None:
    result = run("127.0.0.1:1", speech_file, tmp_path / "film.mp4", *words)
    assert result.exit_code == 2
    assert words[0] in result.stderr


def test_a_missing_extra_is_named_before_any_work(
    tmp_path: Path, speech_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echomimic_client.recording.find_spec", lambda _: None)
    result = run("127.0.0.1:1", speech_file, tmp_path / "film.mp4")
    assert result.exit_code == 1
    assert result.stderr == "error: an MP4 file needs the extra `mp4` installed here\n"


def test_ctrl_c_ends_it_quietly(
    tmp_path: Path, speech_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("echomimic_client.mp4.Mp4Writer", interrupted)
    with served(FakeService()) as address:
        result = run(address, speech_file, tmp_path / "film.mp4")
    assert result.exit_code == 130
    assert "Traceback" not in result.output
    assert not (tmp_path / "film.mp4").exists()
