"""The demo: its gateway, its sheet and the files it leaves."""

import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from client.demo.__main__ import demonstrate
from client.demo.contact_sheet import contact_sheet, spaced
from client.demo.gateway_process import GatewayError, running_gateway
from client.demo.media import PORTRAIT, SPEECH
from echomimic_client.audio import AudioFormat, read_audio
from echomimic_client.blocking import AvatarClient
from tests.support.fake_speech import SIZE, colour
from tests.support.speech_clips import unhurried


def test_the_demo_speech_is_as_its_readme_says() -> None:
    speech = read_audio(SPEECH)
    assert speech.format == AudioFormat("s16le", 16_000, 1)
    assert 6 <= speech.duration_s <= 9
    with Image.open(PORTRAIT) as portrait:
        assert portrait.size == (512, 512)


@pytest.mark.parametrize(("count", "total"), [(11, 168), (11, 12), (11, 5), (1, 9)])
def test_spaced_frames_run_from_the_first_evenly(count: int, total: int) -> None:
    indices = spaced(count, total)
    assert len(indices) == min(count, total)
    assert indices[0] == 0
    assert count == 1 or indices[-1] == total - 1
    gaps = np.diff(indices)
    assert count == 1 or gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(("shots", "rows"), [(3, 1), (4, 2), (11, 3)])
def test_a_contact_sheet_has_a_cell_for_the_portrait_and_every_shot(shots: int, rows: int) -> None:
    pictures = [(n / 25, np.full((96, 64, 3), colour(n), np.uint8)) for n in range(shots)]
    sheet = contact_sheet(Image.new("RGB", (512, 512), "red"), pictures)
    cell_width, cell_height = 240, 360
    assert sheet.size == (4 * (cell_width + 8) + 8, rows * (cell_height + 26 + 8) + 8)
    for index, expected in enumerate([(255, 0, 0), *map(colour, range(shots))]):
        left = 8 + index % 4 * (cell_width + 8)
        top = 8 + index // 4 * (cell_height + 26 + 8)
        assert sheet.getpixel((left + 2, top + 2)) == expected
        assert sheet.getpixel((left + cell_width - 2, top + cell_height - 2)) == expected


def test_a_gateway_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "gateway.log"
    with (
        pytest.raises(GatewayError, match="the gateway ended") as caught,
        running_gateway(tmp_path / "absent", tmp_path / "venv", log),
    ):
        raise AssertionError("it cannot serve what is not there")
    assert log.read_text().splitlines()[-1] in str(caught.value)
    assert str(tmp_path / "absent") in str(caught.value)


@pytest.fixture
def fake_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `python -m server` starts is the server without a model."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nshift 2\nexec {sys.executable} -m tests.support.fake_service "$@"\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


@pytest.mark.usefixtures("fake_gateway")
def test_a_gateway_runs_as_long_as_it_is_needed(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    with (
        running_gateway(Path("some/models"), Path("some/venv"), log) as address,
        AvatarClient(address) as client,
    ):
        assert client.server_info().variant == "flash"
    words, last = log.read_text().splitlines()
    assert f"--port {address.split(':')[1]} --repository some/models" in words
    assert "--triton-venv some/venv --triton-http-port 0 --triton-grpc-port 0" in words
    assert last == "stopped"


@pytest.mark.usefixtures("fake_gateway")
def test_a_gateway_is_stopped_after_an_error_too(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    with pytest.raises(ZeroDivisionError), running_gateway(tmp_path, tmp_path, log):
        raise ZeroDivisionError
    assert log.read_text().splitlines()[-1] == "stopped"


@pytest.mark.usefixtures("fake_gateway")
def test_the_demo_leaves_a_film_a_sheet_and_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept_s: list[float] = []
    monkeypatch.setattr("echomimic_client.recording.paced", unhurried(slept_s))
    monkeypatch.setattr("client.demo.__main__.LOG", tmp_path / "gateway.log")
    out = tmp_path / "out"
    demonstrate(tmp_path, tmp_path, out)
    assert slept_s
    speech, numbers = read_audio(SPEECH), json.loads((out / "demo.json").read_text())
    assert numbers["frames"] == speech.frame_count == 207
    assert (numbers["width"], numbers["height"], numbers["fps"]) == (*SIZE, 25)
    assert numbers["audio_seconds"] == pytest.approx(speech.duration_s, abs=0.001)
    assert 0 <= numbers["first_frame_ms"] <= numbers["playable_latency_ms"]
    assert numbers["realtime_factor"] > 0
    assert (numbers["variant"], numbers["steps"]) == ("flash", 8)
    assert numbers["versions"]["server"] == "0.1.0"
    assert {"python", "tritonclient"} <= numbers["versions"].keys()
    with av.open(str(out / "demo.mp4"), "r") as film:
        assert (film.duration or 0) / 1e6 == pytest.approx(speech.duration_s, abs=1 / 25)
        assert len(list(film.decode(video=0))) == 207
        assert len(film.streams.audio) == 1
    with Image.open(out / "demo.png") as sheet:
        assert sheet.size == (4 * 248 + 8, 3 * (160 + 26 + 8) + 8)
