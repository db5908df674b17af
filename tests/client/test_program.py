"""The `animate` program, from its words to the film it writes."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from echomimic.v1 import avatar_service_pb2 as pb
from PIL import Image
from typer.testing import CliRunner, Result

from client.demo.media import PORTRAIT
from echomimic_client.audio import read_audio
from echomimic_client.program import app
from tests.client.test_address import http_server
from tests.support.fake_service import FIELD_REFUSED, IDLE_FRAMES, MP4, FakeService, served
from tests.support.fake_speech import colour
from tests.support.paths import ROOT
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
    assert "ms, playable after " in result.stdout
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


def test_life_before_the_speech_is_filmed_in_silence(tmp_path: Path, speech_file: Path) -> None:
    out = tmp_path / "film.mp4"
    service = FakeService()
    with served(service) as address:
        result = run(address, speech_file, out, "--idle", "warp")
    assert result.exit_code == 0, result.stderr
    assert service.start.idle_mode == pb.IDLE_MODE_WARP
    with av.open(io.BytesIO(out.read_bytes()), "r") as film:
        assert len(list(film.decode(video=0))) == IDLE_FRAMES + 35
    with av.open(io.BytesIO(out.read_bytes()), "r") as film:
        sound = np.concatenate([f.to_ndarray()[0] for f in film.decode(audio=0)])
    silence = IDLE_FRAMES * 48_000 // 25
    assert np.abs(sound[: silence - 2_048]).max() < 0.02
    assert np.abs(sound[silence + 2_048 :][:5_000]).max() > 0.3


def test_every_option_reaches_the_server(tmp_path: Path, speech_file: Path) -> None:
    service = FakeService()
    words = ["--size", "96x64", "--steps", "6", "--audio-guidance", "1.5", "--prompt", "a face"]
    words += ["--seed", "7", "--sampler", "flow_dpmpp", "--chunk-ms", "500"]
    words += ["--fps", "29.97", "--blend-frames", "--blink"]
    with served(service) as address:
        result = run(address, speech_file, tmp_path / "film.mp4", *words)
    assert result.exit_code == 0, result.stderr
    assert service.start.generation == pb.GenerationSettings(
        steps=6, audio_guidance=1.5, prompt="a face", seed=7, sampler=pb.SAMPLER_FLOW_DPMPP
    )
    assert (service.start.video_format.width, service.start.video_format.height) == (96, 64)
    asked = service.start.video_format
    assert (asked.frames_per_second, asked.frames_per_second_denominator) == (30_000, 1001)
    assert asked.blend_frames
    assert service.start.blink_over_speech
    assert len(service.chunks) == 3


def test_a_style_and_a_preset_reach_the_server_by_name(tmp_path: Path, speech_file: Path) -> None:
    service = FakeService()
    words = ["--prompt", "artistic", "--style-cfg", "2.5", "--preset", "maximum"]
    with served(service) as address:
        result = run(address, speech_file, tmp_path / "film.mp4", *words)
    assert result.exit_code == 0, result.stderr
    assert service.start.generation == pb.GenerationSettings(
        prompt="artistic", style_cfg=2.5, preset="maximum"
    )


@pytest.mark.parametrize("kind", ["webm", "gif"])
def test_a_film_is_what_its_name_says(tmp_path: Path, speech_file: Path, kind: str) -> None:
    out, service = tmp_path / f"film.{kind}", FakeService()
    with served(service) as address:
        streamed = run(address, speech_file, out)
        with av.open(str(out), "r") as film:
            assert kind in film.format.name
            assert len(list(film.decode(video=0))) == 35
        words = ["render", "--portrait", str(PORTRAIT), "--audio", str(speech_file)]
        words += ["--out", str(out), "--server", address]
        rendered = CliRunner().invoke(app, words)
    assert (streamed.exit_code, rendered.exit_code) == (0, 0), streamed.stderr + rendered.stderr
    assert out.read_bytes() == MP4
    assert pb.RenderOutput.Name(service.render.output).endswith(kind.upper())


def test_a_film_of_no_kind_is_a_wrong_call(tmp_path: Path, speech_file: Path) -> None:
    result = run("127.0.0.1:1", speech_file, tmp_path / "film.avi")
    assert result.exit_code == 2
    assert ".webm" in result.stderr


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


def test_frames_go_to_a_folder(tmp_path: Path, speech_file: Path) -> None:
    for command in ([], ["stream"], ["render"]):
        folder = tmp_path / "-".join(["frames", *command])
        words = [*command, "--portrait", str(PORTRAIT), "--audio", str(speech_file)]
        words += ["--frames", str(folder), "--frame-encoding", "png"]
        with served(FakeService()) as address:
            result = CliRunner().invoke(app, [*words, "--server", address])
        assert result.exit_code == 0, result.stderr
        names = sorted(path.name for path in folder.iterdir())
        assert names == [f"{index:06d}.png" for index in range(35)]
        with Image.open(folder / names[20]) as picture:
            assert picture.getpixel((0, 0)) == colour(20)


def test_quality_and_face_reach_the_server(tmp_path: Path, speech_file: Path) -> None:
    service = FakeService()
    words = ["--jpeg-quality", "60", "--face-box", "1,2,30,40", "--deadline-s", "60"]
    with served(service) as address:
        result = run(address, speech_file, tmp_path / "film.mp4", *words)
    assert result.exit_code == 0, result.stderr
    assert service.start.video_format.jpeg_quality == 60
    assert service.start.portrait.face_box == pb.FaceBox(left=1, top=2, right=30, bottom=40)
    assert service.deadline_s == pytest.approx(60, abs=20)


def test_render_lets_the_server_make_the_film(tmp_path: Path, speech_file: Path) -> None:
    service, out = FakeService(), tmp_path / "new" / "film.mp4"
    words = ["render", "--exact", "--match-colors", "--portrait", str(PORTRAIT)]
    words += ["--audio", str(speech_file), "--out", str(out)]
    with served(service) as address:
        result = CliRunner().invoke(app, [*words, "--server", address])
    assert result.exit_code == 0, result.stderr
    assert out.read_bytes() == MP4
    assert service.render.exact_clip == pb.ExactClip(match_colors=True)
    assert result.stdout == f"{out}: 2 frames, 1.25 x real time\n"


def test_info_tells_what_the_server_offers() -> None:
    with served(FakeService()) as address:
        result = CliRunner().invoke(app, ["info", "--server", address])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["variant"] == "flash"


@pytest.mark.parametrize("command", [[], ["render"]])
def test_a_call_without_a_place_for_its_result_is_wrong(
    command: list[str], speech_file: Path
) -> None:
    words = [*command, "--portrait", str(PORTRAIT), "--audio", str(speech_file)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "--frames FOLDER" in result.stderr


def animate(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Runs the program as a process of its own, with all that libraries write."""
    command = [sys.executable, "-m", "echomimic_client", *words]
    folders = os.pathsep.join(str(ROOT / folder) for folder in ("client", "protos"))
    environment = os.environ | {"PYTHONPATH": folders}
    return subprocess.run(command, input=stdin, capture_output=True, env=environment, timeout=60)


def test_speech_from_a_pipe_and_no_words_of_libraries(tmp_path: Path) -> None:
    mp3 = io.BytesIO()
    soundfile.write(mp3, 0.4 * np.sin(np.arange(32_000) * 0.1), 16_000, format="MP3")
    cut = mp3.getvalue()[:-900]
    out = tmp_path / "film.mp4"
    with served(FakeService()) as address:
        words = ["--portrait", str(PORTRAIT), "--audio", "/dev/stdin", "--out", str(out)]
        done = animate(*words, "--server", address, stdin=cut)
    assert done.stderr.decode() == "warning: the portrait is small\n"
    assert done.returncode == 0
    assert out.stat().st_size > 1000


def test_a_refusing_proxy_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server() as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy}")
        monkeypatch.setenv("no_proxy", "")
        done = animate("info", "--server", "avatars.example:50051")
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: no answer from avatars.example:50051 through the proxy")


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
    assert result.stderr == "error: a film needs the extra `mp4` installed here\n"


def test_ctrl_c_ends_it_quietly(
    tmp_path: Path, speech_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("echomimic_client.films.FilmWriter", interrupted)
    with served(FakeService()) as address:
        result = run(address, speech_file, tmp_path / "film.mp4")
    assert result.exit_code == 130
    assert "Traceback" not in result.output
    assert not (tmp_path / "film.mp4").exists()


ALONE, AS_BEFORE, CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"
"""What a terminal is told: to show another screen, the one before, and the cursor."""


@pytest.mark.parametrize(("chunks", "seen"), [(0, ALONE), (20, b"buffered")])
def test_ctrl_c_ends_what_is_played_at_once_and_gives_the_terminal_back(
    speech_file: Path, chunks: int, seen: bytes
) -> None:
    words = ["--portrait", str(PORTRAIT), "--audio", str(speech_file), "--play", "--buffer-s", "0"]
    environment = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    ours, theirs = os.openpty()
    with served(FakeService(stalls_after_chunks=chunks)) as address, ThreadPoolExecutor(1) as pool:
        program = subprocess.Popen(
            [sys.executable, "-m", "echomimic_client", *words, "--server", address],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment
            | {
                "TERM": "xterm-256color",
                "PYTHONPATH": os.pathsep.join(sys.path),
                "PYTHONFAULTHANDLER": "1",
            },
        )
        os.close(theirs)
        was_seen = threading.Event()
        reading = pool.submit(read_all, ours, seen, was_seen)
        try:
            assert was_seen.wait(30)
            program.send_signal(signal.SIGINT)
            # The service answers nothing until it has gone.
            with suppress(subprocess.TimeoutExpired):
                program.wait(10)
        finally:
            # Where it is still there, it says what its threads wait for.
            program.send_signal(signal.SIGABRT)
            status = program.wait()
        shown = reading.result()
    os.close(ours)
    assert status == 130, shown.decode()
    # Pressed while the screen is being asked for, that may be written once more.
    assert shown.count(AS_BEFORE) == 1
    assert shown.rindex(CURSOR) > shown.rindex(AS_BEFORE) > shown.rindex(ALONE)
    assert b"Traceback" not in shown


def read_all(terminal: int, word: bytes, was_seen: threading.Event) -> bytes:
    """Returns all that is written to a terminal; says when a word was."""
    seen = b""
    with suppress(OSError):
        while piece := os.read(terminal, 1 << 16):
            seen += piece
            if word in seen:
                was_seen.set()
    return seen
