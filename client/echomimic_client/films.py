"""Pictures and sound to a film: MP4, WebM or GIF, by PyAV (the `mp4` extra)."""

# The library's own annotations are partial.
# pyright: reportUnknownMemberType=false

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import IO, Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import Self

from echomimic_client.film_kinds import FilmKind

Picture = NDArray[np.uint8]

KEY_FRAMES_EVERY_S = 2
"""In what is shown while it is made: whoever comes later waits no longer."""
SOUND_RATE_HZ = 48_000
"""What Opus takes, and at which AAC delays a live film least."""
SOUND_BITS_PER_S = 128_000
"""At its default, half of that, AAC distorts moments of a steady tone."""
COLOURS = 256
"""Of a picture of a GIF."""
CHUNK_BYTES = 1 << 20


def bt709(picture: Picture) -> av.VideoFrame:
    """Returns a picture [height, width, 3] in the colours that films have; sides are even."""
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return rgb.reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
    )


def state_bt709(video: Any) -> None:
    """States these colours in a film, since players guess those of one that says nothing."""
    video.pix_fmt = "yuv420p"
    video.colorspace = Colorspace.ITU709
    video.color_range = ColorRange.MPEG
    video.color_primaries = ColorPrimaries.BT709
    video.color_trc = ColorTrc.BT709


def paletted(picture: Picture) -> av.VideoFrame:
    """Returns a picture [height, width, 3] in the colours that suit it best."""
    indexed = Image.fromarray(picture).quantize(COLOURS)
    colours = np.array(indexed.getpalette("RGB"), np.uint8).reshape(-1, 3)
    opaque = np.full((COLOURS, 4), 255, np.uint8)
    opaque[: len(colours), 1:] = colours
    planes: Any = (np.asarray(indexed), opaque)
    return av.VideoFrame.from_ndarray(planes, format="pal8")


@dataclass(frozen=True, slots=True)
class _Make:
    """How a kind of film is made; names and options are FFmpeg's.

    Attributes:
        container: the file's format.
        video: the encoder of pictures.
        sound: the encoder of sound, or none.
        ticks_per_s: what times are counted in, where that is not frames.
        file: options of the file.
        quality: options of the pictures.
        is_piped: whether its bytes come while it is made.
    """

    container: str
    video: str
    sound: str | None
    file: Mapping[str, str] = field(default_factory=dict[str, str])
    quality: Mapping[str, str] = field(default_factory=dict[str, str])
    ticks_per_s: int | None = None
    is_piped: bool = False


_MAKES: dict[FilmKind, _Make] = {
    # Visually lossless, its index in front.
    "mp4": _Make("mp4", "libx264", "aac", {"movflags": "faststart"}, {"crf": "18"}),
    # A fragment is cut by its length: `frag_every_frame` loses frames beside AAC.
    "fragmented_mp4": _Make(
        *("mp4", "libx264", "aac"),
        file={"movflags": "empty_moov+default_base_moof", "frag_duration": "40000"},
        quality={"crf": "18", "preset": "veryfast", "tune": "zerolatency"},
        is_piped=True,
    ),
    # Quality decides, without a bound on the rate; not VP9's slowest way by far.
    "webm": _Make(
        *("webm", "libvpx-vp9", "libopus"),
        quality={"crf": "24", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
    ),
    # The flag: else the last picture stands for a tick.
    "gif": _Make(
        *("gif", "gif", None), quality={"flags": "+frame_duration"}, ticks_per_s=100, is_piped=True
    ),
}


class FilmWriter:
    """Takes pictures and sound side by side, and gives the film bit by bit or in the end."""

    def __init__(
        self, kind: FilmKind, width: int, height: int, fps: int | Fraction, sample_rate_hz: int
    ) -> None:
        """Opens a film.

        Args:
            kind: of the film. An MP4 and a WebM come in the end, and are kept in a temporary file
                meanwhile; the others come while they are made.
            width: of the pictures.
            height: of the pictures.
            fps: pictures a second.
            sample_rate_hz: samples of the sound a second.
        """
        make = _MAKES[kind]
        self._pipe = _Pipe()
        self._file: IO[bytes] | None = None
        if not make.is_piped:
            # With a name: its beginning is written last, and read again for that.
            self._file = tempfile.NamedTemporaryFile(suffix=f".{make.container}")  # noqa: SIM115
        target = self._pipe if self._file is None else self._file.name
        self._container = av.open(target, "w", format=make.container, options=dict(make.file))
        self._fps = Fraction(fps)
        self._ticks_per_s = Fraction(make.ticks_per_s or fps)
        self._video: Any = self._container.add_stream(
            make.video, rate=self._ticks_per_s, options=dict(make.quality)
        )
        self._video.width, self._video.height = width, height
        self._converted: Callable[[Picture], av.VideoFrame]
        if make.video == "gif":
            self._video.pix_fmt, self._converted = "pal8", paletted
        else:
            state_bt709(self._video)
            self._converted = bt709
        if make.is_piped:
            self._video.gop_size = int(KEY_FRAMES_EVERY_S * self._fps)
        self._sound = None if make.sound is None else self._sound_track(make.sound)
        self._sample_rate_hz = sample_rate_hz
        self._pictures = self._samples = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drops the temporary file, whether the film is finished or not."""
        if self._file is not None:
            self._file.close()

    def add(self, picture: Picture, samples: NDArray[np.float32]) -> bytes:
        """Adds a picture [height, width, 3] and its sound, mono floats in [-1, 1].

        Returns:
            What there is more of the film; nothing where it comes in the end.
        """
        frame = self._converted(picture)
        frame.pts = self._tick(self._pictures)
        frame.duration = self._tick(self._pictures + 1) - frame.pts
        frame.time_base = 1 / self._ticks_per_s
        self._pictures += 1
        self._mux(self._video, frame)
        self._add_sound(samples)
        return self._pipe.take()

    def finish(self) -> Iterator[bytes]:
        """Ends the film and yields what is left of it.

        Sound that is shorter than a picture is filled up with silence: of a few samples encoders
        make nothing, and a film without a sound track cannot be joined with others.
        """
        missing = -(-self._sample_rate_hz // self._fps) - self._samples
        self._add_sound(np.zeros(max(0, missing), np.float32))
        for stream in (self._video, self._sound):
            self._mux(stream, None)
        self._container.close()
        if self._file is None:
            yield self._pipe.take()
            return
        while data := self._file.read(CHUNK_BYTES):
            yield data

    def _sound_track(self, codec: str) -> Any:
        sound: Any = self._container.add_stream(codec, rate=SOUND_RATE_HZ)
        sound.layout = "mono"
        sound.bit_rate = SOUND_BITS_PER_S
        return sound

    def _tick(self, picture: int) -> int:
        return int(picture * self._ticks_per_s / self._fps)

    def _add_sound(self, samples: NDArray[np.float32]) -> None:
        if self._sound is None or not len(samples):
            return
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[None]), format="fltp", layout="mono"
        )
        frame.sample_rate = self._sample_rate_hz
        frame.pts = self._samples
        frame.time_base = Fraction(1, self._sample_rate_hz)
        self._samples += len(samples)
        self._mux(self._sound, frame)

    def _mux(self, stream: Any, frame: Any) -> None:
        if stream is not None:
            self._container.mux(stream.encode(frame))


class _Pipe:
    """What FFmpeg writes to, without a way back."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        """Keeps some bytes."""
        self._data += data
        return len(data)

    def take(self) -> bytes:
        """Returns what was written since the last time."""
        data = bytes(self._data)
        self._data.clear()
        return data
