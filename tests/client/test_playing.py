"""A stream shown while it comes: what is due, what is heard, and where it is seen."""

import io
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from rich.console import Console
from typer.testing import CliRunner

from client.demo.media import PORTRAIT
from echomimic_client import program
from echomimic_client.audio import AudioClip, AudioFormat
from echomimic_client.errors import ScreenError
from echomimic_client.playing import Player, watch
from echomimic_client.results import Frame, FrameKind, Picture
from echomimic_client.screens import Silence, Speaker, Terminal, Window, screen, sound_of
from tests.support.fake_service import FakeService, served
from tests.support.fake_speech import colour

STARTED = cast("Any", SimpleNamespace(frames_per_second=Fraction(25)))


def frame(index: int, kind: FrameKind = "speech") -> Frame:
    data = bytes([index]) * 12
    return Frame(index, 0, index / 25, 640 * index, 2, 2, kind, "rgb", data)


class Heard:
    """Notes what it is told to play."""

    def __init__(self) -> None:
        self.told: list[float | str] = []

    def play(self, from_s: float) -> None:
        self.told.append(round(from_s, 6))

    def stop(self) -> None:
        self.told.append("stop")


def shown(player: Player, until_s: float, from_s: float = 0) -> list[tuple[float, int]]:
    """What a screen that looks every 10 ms shows, and when."""
    found: list[tuple[float, int]] = []
    for hundredth in range(round(from_s * 100), round(until_s * 100)):
        picture = player.due(hundredth / 100)
        if picture is not None:
            found.append((hundredth / 100, int(picture[0, 0, 0])))
    return found


def test_sound_and_picture_start_together_once_the_buffer_has_filled() -> None:
    heard = Heard()
    player = Player(0.2, heard)
    player.start(STARTED)
    for n in range(4):
        player.add(frame(n), 0.0)
    assert shown(player, 1.0) == []
    assert heard.told == []
    player.add(frame(4), 1.0)
    assert shown(player, 1.2, from_s=1.0) == [(1 + n / 25, n) for n in range(5)]
    assert heard.told == [0.0]


def test_an_underrun_stops_the_sound_and_the_next_frame_takes_it_up() -> None:
    heard = Heard()
    player = Player(0.2, heard)
    player.start(STARTED)
    for n in range(5):
        player.add(frame(n), 0.0)
    shown(player, 1.0)
    assert heard.told == [0.0, "stop"]
    for n in range(5, 10):
        player.add(frame(n), 1.0)
    player.complete(1.0)
    assert [index for _, index in shown(player, 3.0, from_s=1.0)] == [5, 6, 7, 8, 9]
    assert heard.told == [0.0, "stop", 0.2, "stop"]
    assert player.is_empty
    assert player.line(3.0) == "0.0 s buffered, 1 underruns"


def test_a_screen_that_looks_late_shows_the_last_frame_that_is_due() -> None:
    heard = Heard()
    player = Player(0.2, heard)
    player.start(STARTED)
    for n in range(10):
        player.add(frame(n), 0.0)
    picture = player.due(0.21)
    assert picture is not None
    assert picture[0, 0, 0] == 5
    assert heard.told == [0.21]


def test_the_sound_waits_for_the_speech_behind_idle_frames() -> None:
    heard = Heard()
    player = Player(0.08, heard)
    player.start(STARTED)
    for n in range(5):
        player.add(frame(n, "idle"), 0.0)
    assert [index for _, index in shown(player, 0.15)] == [0, 1, 2, 3]
    assert heard.told == []
    player.add(frame(5), 0.15)
    assert [index for _, index in shown(player, 0.22, from_s=0.15)] == [4, 5]
    assert heard.told == [0.0]


class Screen:
    """Shows in memory, and is closed after some pictures."""

    def __init__(self, closes_after: int = 1000) -> None:
        self.pictures: list[int] = []
        self._closes_after = closes_after

    @property
    def is_open(self) -> bool:
        return len(self.pictures) < self._closes_after

    def show(self, picture: Picture, line: str) -> None:
        self.pictures.append(int(picture[0, 0, 0]))

    def refresh(self) -> None:
        pass


def watched(onto: Screen, frames: int) -> str:
    player, passed = Player(0.2, Silence()), iter(range(10**9))

    def now() -> float:
        return next(passed) / 1000

    def work() -> str:
        player.start(STARTED)
        for n in range(frames):
            player.add(frame(n), now())
            if n == 5:
                # The rest comes only after a picture was seen.
                seen.wait(10)
        return "done"

    seen = threading.Event()
    onto.refresh = lambda: seen.set() if onto.pictures else None
    return watch(work, player, onto, lambda: None, now=now, sleep=lambda _: None)


def test_every_frame_of_some_work_is_shown_and_its_outcome_returned() -> None:
    onto = Screen()
    assert watched(onto, 20) == "done"
    assert onto.pictures == list(range(20))


def test_a_screen_that_is_closed_ends_the_work() -> None:
    with pytest.raises(ScreenError, match="nobody looked any more"):
        watched(Screen(closes_after=1), 200)


def test_work_that_waits_for_ever_is_stopped_when_it_is_given_up() -> None:
    stopped = threading.Event()
    player = Player(0.2, Silence())
    onto = Screen()

    def interrupted() -> None:
        raise KeyboardInterrupt

    onto.refresh = interrupted
    with pytest.raises(KeyboardInterrupt):
        watch(lambda: stopped.wait(), player, onto, stopped.set)


def test_ctrl_c_that_comes_while_a_lock_is_taken_leaves_it_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped, pressed = threading.Event(), threading.Event()
    take = threading.Condition.__enter__

    def taken_as_it_comes(lock: threading.Condition) -> bool:
        taken = take(lock)
        caller = sys._getframe(1).f_code.co_name
        if caller == "done" and not pressed.is_set():
            pressed.set()
            signal.raise_signal(signal.SIGINT)
        return taken

    monkeypatch.setattr(threading.Condition, "__enter__", taken_as_it_comes)
    with pytest.raises(KeyboardInterrupt):
        watch(lambda: stopped.wait(), Player(0.2, Silence()), Screen(), stopped.set)
    assert pressed.is_set()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_at_the_very_end_is_not_lost() -> None:
    sound = Silence()
    # As playback ends, after everything has been shown.
    sound.stop = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        watch(lambda: "done", Player(0.2, sound), Screen(), lambda: None)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_ends_what_the_first_one_waits_for() -> None:
    stopped, onto = threading.Event(), Screen()
    onto.refresh = lambda: signal.raise_signal(signal.SIGINT)

    def stop() -> None:
        stopped.set()
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one was ignored")

    with pytest.raises(KeyboardInterrupt):
        watch(lambda: stopped.wait(), Player(0.2, Silence()), onto, stop)


def test_ctrl_c_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert watched(Screen(), 3) == "done"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


CELL = re.compile(r"\x1b\[38;2;(\d+);(\d+);(\d+)m\x1b\[48;2;(\d+);(\d+);(\d+)m▀")


def test_a_terminal_shows_two_pixels_in_each_character() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=8, height=5)
    picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    Terminal(console).show(picture, "a line longer than eight")
    *lines, last = file.getvalue().removeprefix("\x1b[H").split("\r\n")
    cells = [[[int(n) for n in cell] for cell in CELL.findall(line)] for line in lines]
    # Eight columns, four lines of two rows each.
    pixels = np.array(cells).reshape(4, 8, 2, 3).transpose(0, 2, 1, 3).reshape(8, 8, 3)
    assert np.array_equal(pixels, picture)
    assert last == "a line l\x1b[K"


def test_where_there_is_nothing_to_play_on_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ScreenError, match="neither a display"), screen(Console(file=io.StringIO())):
        pass


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = shutil.which("Xvfb")
    if server is None:
        pytest.skip("there is no Xvfb here")
    command = [server, "-displayfd", "1", "-screen", "0", "320x240x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdout is not None
        monkeypatch.setenv("DISPLAY", f":{int(running.stdout.readline())}")
        yield
        running.terminate()


@pytest.mark.usefixtures("display")
def test_a_window_shows_pictures_until_it_is_closed() -> None:
    with screen(Console(file=io.StringIO())) as window:
        assert isinstance(window, Window)
        window.show(np.full((48, 64, 3), 90, np.uint8), "a line")
        window.refresh()
        assert window.is_open
        window.close()
        window.show(np.full((48, 64, 3), 90, np.uint8), "not seen")
        window.refresh()
        assert not window.is_open


CLIP = AudioClip(AudioFormat("s16le", 16_000), np.arange(16_000, dtype="<i2").tobytes())


def test_a_speaker_plays_from_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[tuple[int, int]] = []
    fake = SimpleNamespace(
        play=lambda samples, rate: played.append((len(samples), rate)),
        stop=lambda: played.append((0, 0)),
    )
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    sound, why_not = sound_of(CLIP)
    assert isinstance(sound, Speaker)
    assert why_not == ""
    sound.play(0.25)
    sound.stop()
    assert played == [(12_000, 16_000), (0, 0)]


def test_without_the_extra_it_is_silent_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    sound, why_not = sound_of(CLIP)
    assert isinstance(sound, Silence)
    assert "`play`" in why_not


def test_the_program_plays_in_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=12, height=5)
    monkeypatch.setattr(program, "Console", lambda: console)
    speech = tmp_path / "speech.wav"
    soundfile.write(speech, np.zeros(8_000), 16_000)
    service = FakeService()
    with served(service) as address:
        words = ["--portrait", str(PORTRAIT), "--audio", str(speech), "--server", address]
        words += ["--play", "--buffer-s", "0.2", "--frame-encoding", "png"]
        result = CliRunner().invoke(program.app, words)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("played: 13 frames")
    assert "there is no sound" in result.stderr
    assert service.start.buffer.ToMilliseconds() == 200
    seen = [tuple(map(int, cell[:3])) for cell in CELL.findall(terminal.getvalue())]
    assert seen[-1] == colour(12)
    # In order, whichever of them a busy machine has shown.
    assert sorted(seen) == seen
