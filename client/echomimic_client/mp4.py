"""Pictures and sound to an MP4 file: H.264 and AAC, by PyAV (the `mp4` extra)."""

# The library's own annotations are partial.
# pyright: reportUnknownMemberType=false

import tempfile
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream
from numpy.typing import NDArray

CRF = "18"
"""Visually lossless."""
AAC_RATE_HZ = 48_000
AAC_BITS_PER_S = 128_000
"""At its default, half of that, the encoder distorts moments of a steady tone."""


class Mp4Writer:
    """Collects pictures as they come; the sound follows at the end."""

    def __init__(self, width: int, height: int, fps: int | Fraction, sample_rate_hz: int) -> None:
        """Opens a temporary file; the sound has ``sample_rate_hz`` samples a second."""
        # A file with a name, since putting the index in front means reading it while it is written.
        self._file = tempfile.NamedTemporaryFile(suffix=".mp4")  # noqa: SIM115
        self._container = av.open(self._file.name, "w", options={"movflags": "faststart"})
        self._video: VideoStream = self._container.add_stream(
            "libx264", rate=fps, options={"crf": CRF}
        )
        self._video.width, self._video.height = width, height
        self._video.pix_fmt = "yuv420p"
        # Stated, since players guess the colours of a file that says nothing by its size.
        self._video.colorspace = Colorspace.ITU709
        self._video.color_range = ColorRange.MPEG
        self._video.color_primaries = ColorPrimaries.BT709
        self._video.color_trc = ColorTrc.BT709
        self._sample_rate_hz = sample_rate_hz
        self._samples_per_picture = -(-sample_rate_hz // fps)
        self._audio: AudioStream = self._container.add_stream("aac", rate=AAC_RATE_HZ)
        self._audio.layout = "mono"
        self._audio.bit_rate = AAC_BITS_PER_S

    def add_pictures(self, pictures: Iterable[NDArray[np.uint8]]) -> None:
        """Adds pictures [height, width, 3]."""
        for picture in pictures:
            rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = rgb.reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
            )
            self._container.mux(self._video.encode(frame))

    def finish(self, samples: NDArray[np.float32]) -> bytes:
        """Adds the sound, mono floats in [-1, 1], and returns the file, its index in front.

        Sound that is shorter than a picture is filled up with silence: of a few samples the encoder
        makes nothing, and a file without a sound track cannot be joined with others.
        """
        self._container.mux(self._video.encode(None))
        samples = np.pad(samples, (0, max(0, self._samples_per_picture - len(samples))))
        for start in range(0, len(samples), self._sample_rate_hz):
            chunk = np.ascontiguousarray(samples[None, start : start + self._sample_rate_hz])
            frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
            frame.sample_rate = self._sample_rate_hz
            frame.pts = start
            frame.time_base = Fraction(1, self._sample_rate_hz)
            self._container.mux(self._audio.encode(frame))
        self._container.mux(self._audio.encode(None))
        self._container.close()
        with self._file:
            return self._file.read()
