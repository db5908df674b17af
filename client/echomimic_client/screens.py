"""Where a stream is shown: a window, or a terminal; and what it is heard by."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from echomimic_client.audio import AudioClip
from echomimic_client.errors import ScreenError
from echomimic_client.playing import Screen, Sound
from echomimic_client.results import Picture

HOME, PLAIN, REST_OF_LINE = "\x1b[H", "\x1b[0m", "\x1b[K"


class Terminal:
    """Shows pictures in true colour, two pixels in each character."""

    is_open = True

    def __init__(self, console: Console) -> None:
        """Draws on a terminal, over what is there."""
        self._console = console

    def show(self, picture: Picture, line: str) -> None:
        """Shows a picture as large as there is room for, and a line below it."""
        width, height = self._console.size
        lines = [*drawn(picture, width, height - 1), line[:width] + REST_OF_LINE]
        self._console.file.write(HOME + "\r\n".join(lines))
        self._console.file.flush()

    def refresh(self) -> None:
        """Does nothing: a terminal needs no care."""


def drawn(picture: Picture, width: int, height: int) -> list[str]:
    """Returns a picture as lines of text: upper halves of characters before their backgrounds.

    Args:
        picture: [height, width, 3].
        width: characters of a line.
        height: lines.
    """
    image = Image.fromarray(picture)
    scale = min(width / image.width, 2 * height / image.height)
    columns = max(1, int(image.width * scale))
    rows = max(1, int(image.height * scale) // 2)
    pixels = np.asarray(image.resize((columns, 2 * rows)))
    pairs = np.concatenate([pixels[0::2], pixels[1::2]], axis=-1)
    return ["".join(_HALVES % tuple(pair) for pair in row) + PLAIN for row in pairs.tolist()]


_HALVES = "\x1b[38;2;%d;%d;%dm\x1b[48;2;%d;%d;%dm\N{UPPER HALF BLOCK}"


class Window:
    """Shows pictures in a window of their size."""

    def __init__(self) -> None:
        """Opens it.

        Raises:
            ScreenError: there is nothing to open it on.
        """
        try:
            import tkinter
        except ImportError as error:
            raise ScreenError("this Python has no tkinter for a window") from error
        from PIL import ImageTk

        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise ScreenError(f"no window can be opened: {error}") from error
        self.is_open = True
        self._image_of: Any = ImageTk.PhotoImage
        self._label: Any = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._root.protocol("WM_DELETE_WINDOW", self.close)

    def show(self, picture: Picture, line: str) -> None:
        """Shows a picture, and a line as the title."""
        if self.is_open:
            # Kept, since tkinter does not.
            self._shown = self._image_of(Image.fromarray(picture))
            self._label.configure(image=self._shown)
            self._root.title(line)

    def refresh(self) -> None:
        """Draws it, and hears what is done to it."""
        if self.is_open:
            self._root.update()

    def close(self) -> None:
        """Closes it."""
        if self.is_open:
            self.is_open = False
            self._root.destroy()


@contextmanager
def screen(console: Console) -> Iterator[Screen]:
    """Gives a window where there are any, or else the terminal.

    Raises:
        ScreenError: there is neither.
    """
    if any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
        window = Window()
        try:
            yield window
        finally:
            window.close()
    elif console.is_terminal:
        # Not console.screen(), which gives nothing back where Ctrl-C comes while it begins.
        try:
            console.set_alt_screen(True)
            console.show_cursor(False)
            yield Terminal(console)
        finally:
            console.set_alt_screen(False)
            console.show_cursor(True)
    else:
        raise ScreenError("there is neither a display for a window nor a terminal to play in")


class Silence:
    """Nothing is heard."""

    def play(self, from_s: float) -> None:
        """Does nothing."""

    def stop(self) -> None:
        """Does nothing."""


class Speaker:
    """Plays a clip by sounddevice (the `play` extra)."""

    def __init__(self, clip: AudioClip, sounddevice: Any) -> None:
        """Is silent at first."""
        self._samples, self._rate = clip.mono(), clip.format.sample_rate_hz
        self._sounddevice = sounddevice

    def play(self, from_s: float) -> None:
        """Begins at a time of the clip."""
        self._sounddevice.play(self._samples[int(from_s * self._rate) :], self._rate)

    def stop(self) -> None:
        """Is silent."""
        self._sounddevice.stop()


def sound_of(clip: AudioClip) -> tuple[Sound, str]:
    """Returns what plays a clip; and why that is nothing, or an empty text."""
    try:
        import sounddevice  # pyright: ignore[reportMissingImports]
    except ImportError:
        return Silence(), "there is no sound: it needs the extra `play` installed here"
    except OSError as error:
        return Silence(), f"there is no sound: {error}"
    return Speaker(clip, sounddevice), ""
