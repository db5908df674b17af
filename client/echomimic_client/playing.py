"""A stream shown while it comes: frames wait for their time, and the sound goes with them.

a thread that reads -> Player.add -> Player.due -> a screen, in the program's first thread
"""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

from echomimic_client.errors import ScreenError
from echomimic_client.pictures import FrameDecoder
from echomimic_client.playback import PlayerClock
from echomimic_client.results import Frame, Picture, Started

LOOK_EVERY_S = 0.01
"""A screen is looked after at least so often; a frame lasts three times as long."""
T = TypeVar("T")


class Screen(Protocol):
    """Where pictures are shown, by the program's first thread alone."""

    @property
    def is_open(self) -> bool:
        """Whether somebody may still look at it."""
        ...

    def show(self, picture: Picture, line: str) -> None:
        """Shows a picture [height, width, 3] and a line of text."""
        ...

    def refresh(self) -> None:
        """Takes care of what happens to it meanwhile."""
        ...


class Sound(Protocol):
    """What is heard with the frames."""

    def play(self, from_s: float) -> None:
        """Begins at a moment of the speech."""
        ...

    def stop(self) -> None:
        """Is silent."""
        ...


class Player:
    """Holds the frames of one utterance until they are due."""

    def __init__(self, buffer_s: float, sound: Sound) -> None:
        """Begins empty; ``buffer_s`` is how much is waited for."""
        self._buffer_s = buffer_s
        self._sound = sound
        self._changing = threading.Lock()
        self._clock = PlayerClock(buffer_s, 0.0)
        self._waiting: deque[Frame] = deque()
        self._decoder = FrameDecoder()
        self._said_from_s: float | None = None
        """When the speech begins; None before its first frame has come."""
        self._is_heard = self._is_closed = False

    def start(self, started: Started) -> None:
        """Takes note of what the frames will be like; before the first of them."""
        self._clock = PlayerClock(self._buffer_s, float(1 / started.frames_per_second))

    def add(self, frame: Frame, now_s: float) -> None:
        """Takes the next frame.

        Raises:
            ScreenError: nobody looks any more.
        """
        with self._changing:
            if self._is_closed:
                raise ScreenError("nobody looked any more, so the rest was not made")
            self._waiting.append(frame)
            self._clock.add(frame.pts_s, now_s)
            if frame.kind == "speech" and self._said_from_s is None:
                self._said_from_s = frame.pts_s

    def complete(self, now_s: float) -> None:
        """Takes note that there are no more frames."""
        with self._changing:
            self._clock.complete(now_s)

    def close(self) -> None:
        """Takes no more frames, and is silent."""
        with self._changing:
            self._is_closed = True
        self._sound.stop()

    @property
    def is_empty(self) -> bool:
        """Whether every frame has been shown, for as long as it lasts."""
        with self._changing:
            return not self._waiting and not self._clock.is_playing

    def due(self, now_s: float) -> Picture | None:
        """Returns the frame to be shown now, if it is another one; of several the last.

        The sound begins with the first frame of speech, stops where frames are missing, and goes on
        with the next one.
        """
        with self._changing:
            self._clock.look(now_s)
            due: list[Frame] = []
            while self._waiting and self._clock.due_s(self._waiting[0].pts_s) <= now_s:
                due.append(self._waiting.popleft())
            said_s = self._said_s(now_s)
        if (said_s is not None) != self._is_heard:
            self._is_heard = said_s is not None
            if said_s is not None:
                self._sound.play(said_s)
            else:
                self._sound.stop()
        pictures = [self._decoder.picture(frame) for frame in due]
        return pictures[-1] if pictures else None

    def _said_s(self, now_s: float) -> float | None:
        """Returns how much has been said, or None while nothing is to be heard."""
        if not self._clock.is_playing or self._said_from_s is None:
            return None
        said_s = self._clock.at_s(now_s) - self._said_from_s
        return said_s if said_s >= 0 else None

    def line(self, now_s: float) -> str:
        """Returns in a line how it goes."""
        with self._changing:
            level_s, underruns = self._clock.level_s(now_s), self._clock.underruns
        return f"{level_s:.1f} s buffered, {underruns} underruns"


def watch(
    work: Callable[[], T],
    player: Player,
    screen: Screen,
    stop: Callable[[], object],
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Shows what some work gives a player while it is done, to the end; returns what it came to.

    Where it is given up, by Ctrl-C too, nothing is waited for but the work's end. It runs in the
    program's first thread, which alone hears of Ctrl-C.

    Args:
        work: done in a thread of its own.
        player: what it gives frames to.
        screen: where they are shown.
        stop: ends the work soon, wherever it is.
        now: a monotonic clock in seconds.
        sleep: waits for some seconds.

    Raises:
        ScreenError: the screen was closed before the end.
        KeyboardInterrupt: Ctrl-C was pressed.
        Exception: what the work raised.
    """
    with _interrupts() as interrupts, ThreadPoolExecutor(1) as pool:
        try:
            done = pool.submit(work)
            done.add_done_callback(lambda _: player.complete(now()))
            while not (done.done() and player.is_empty):
                if interrupts:
                    raise KeyboardInterrupt
                if not screen.is_open:
                    raise ScreenError("nobody looked any more, so the rest was not made")
                picture = player.due(now())
                if picture is not None:
                    screen.show(picture, player.line(now()))
                screen.refresh()
                sleep(LOOK_EVERY_S)
            return done.result()
        except BaseException:
            stop()
            raise
        finally:
            player.close()


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Gives the list that the first Ctrl-C is noted in; it is raised at the end at the latest.

    Raised at once, it may come while this thread takes or gives back a lock that the work needs, as
    those of futures are, and leave it locked: neither would ever end. Another one is raised at once
    all the same, for whoever cannot wait. Where Ctrl-C does something else already, it still does.
    """
    noted: list[int] = []

    def note(number: int, _: object) -> None:
        noted.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if raises:
        signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        if raises:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if noted:
        raise KeyboardInterrupt
