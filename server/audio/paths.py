"""How speech reaches the denoiser: the part in which the two variants differ.

waveform -> Wav2Vec2 on Triton -> features of the whole -> what the denoiser hears in one window

Flash gets every hidden state, interpolated to video frames, in windows of five frames. Preview gets
the last hidden state at Wav2Vec2's own rate, and hears on the face alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from server.arrays import FloatArray
from server.audio.clock import FRAME_RATE, MODEL_RATE_HZ, MODEL_SAMPLES_PER_FRAME
from server.audio.frame_rate import EXTRA_SAMPLES, conv_frames, heard_frames, interpolation
from server.audio.loudness import normalize_loudness
from server.audio.pcm import Samples
from server.audio.token_windows import window_index
from server.triton.contract import (
    AUDIO_ENCODER,
    AUDIO_TOKENS_PER_FRAME,
    DENOISER,
    PREVIEW_AUDIO_ENCODER,
    PREVIEW_DENOISER,
    Network,
)
from server.triton.engine import Engine, Priority

Hearing = Mapping[str, NDArray[Any]]
"""What one window adds to the denoiser's inputs, one row each."""


class AudioPath(Protocol):
    """A variant's way from speech to the denoiser."""

    @property
    def denoiser(self) -> Network:
        """The denoiser that hears so."""
        ...

    def at(self, rows: int, columns: int) -> "AudioPath":
        """Returns the way to pictures of so many tokens, no more than they usually have."""
        ...

    def clip_speech(self, samples: Samples, frames: int) -> Samples:
        """Returns what the authors encode of a whole clip, of which some frames are made."""
        ...

    async def encode(
        self,
        engine: Engine,
        waveform: Samples,
        frames: int,
        priority: Priority = Priority.NORMAL,
    ) -> FloatArray:
        """Encodes speech at 16 kHz, zero mean and unit variance, that lasts some video frames."""
        ...

    def window(self, features: FloatArray, start: int, frames: int) -> Hearing:
        """Returns what is heard in the frames from ``start`` on, counted in the features."""
        ...


class FlashAudio:
    """Features [frames, 12, audio_width]."""

    denoiser = DENOISER

    def at(self, rows: int, columns: int) -> AudioPath:
        """Returns this way: it is the same for all sizes."""
        del rows, columns
        return self

    def clip_speech(self, samples: Samples, frames: int) -> Samples:
        """Returns the speech of the frames, with the whole clip's loudness normalised."""
        # As a float, like the authors: for some lengths it is a sample less than the frames have.
        return normalize_loudness(samples)[: int(frames / FRAME_RATE * MODEL_RATE_HZ)]

    async def encode(
        self,
        engine: Engine,
        waveform: Samples,
        frames: int,
        priority: Priority = Priority.NORMAL,
    ) -> FloatArray:
        """Encodes speech; the features are stretched to the frames, end to end."""
        low, high, weight = interpolation(conv_frames(len(waveform)), frames)
        rows = {"waveform": waveform, "low": low, "high": high, "weight": weight}
        inputs = {name: row[None] for name, row in rows.items()}
        return (await engine.run(AUDIO_ENCODER, inputs, priority=priority))["features"][0]

    def window(self, features: FloatArray, start: int, frames: int) -> Hearing:
        """Returns the features of the frames and of their neighbours on either side."""
        return {"audio": features[heard_frames(start, frames, len(features))][None]}


@dataclass(frozen=True, slots=True)
class PreviewAudio:
    """Features [tokens, audio_width], about two a frame.

    Attributes:
        face_mask: [height / 16, width / 16], 1 where audio acts.
        audio_scale: how strongly it acts.
    """

    face_mask: FloatArray
    audio_scale: float = 1.0

    @property
    def denoiser(self) -> Network:
        """The denoiser that hears so."""
        return PREVIEW_DENOISER

    def at(self, rows: int, columns: int) -> AudioPath:
        """Returns the way to smaller pictures: audio acts wherever it acted in any part."""
        down, across = self.face_mask.shape
        if (down, across) == (rows, columns):
            return self
        mask = np.zeros((rows, columns), np.float32)
        row, column = np.nonzero(self.face_mask)
        mask[row * rows // down, column * columns // across] = 1
        return replace(self, face_mask=mask)

    def clip_speech(self, samples: Samples, frames: int) -> Samples:
        """Returns all speech, with silence where it is too short by a token for its last frame.

        There the authors' program stops with an error.
        """
        missing = max(0, frames * MODEL_SAMPLES_PER_FRAME + EXTRA_SAMPLES - len(samples))
        return np.pad(samples, (0, missing))

    async def encode(
        self,
        engine: Engine,
        waveform: Samples,
        frames: int,
        priority: Priority = Priority.NORMAL,
    ) -> FloatArray:
        """Encodes speech at Wav2Vec2's own rate, whatever the frames are."""
        inputs = {"waveform": waveform[None]}
        result = await engine.run(PREVIEW_AUDIO_ENCODER, inputs, priority=priority)
        return result["features"][0]

    def window(self, features: FloatArray, start: int, frames: int) -> Hearing:
        """Returns the tokens of some frames."""
        first = start * AUDIO_TOKENS_PER_FRAME
        return self.tokens(features[first : first + frames * AUDIO_TOKENS_PER_FRAME])

    def tokens(self, tokens: FloatArray) -> Hearing:
        """Returns what is heard in a window of these tokens, two for each of its frames."""
        return {
            "audio": tokens[None],
            "audio_index": window_index(len(tokens))[None],
            "face_mask": self.face_mask[None],
            "audio_scale": np.full((1, 1), self.audio_scale, np.float32),
        }
