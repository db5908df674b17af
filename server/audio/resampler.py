"""Mono audio of any rate to 16 kHz, as a stream."""

# The library's own annotations are partial.
# pyright: reportMissingTypeStubs=false

import numpy as np
import soxr

from server.audio.clock import MODEL_RATE_HZ
from server.audio.pcm import Samples


class Resampler:
    """Mono audio of one rate to 16 kHz; the result does not depend on the chunking."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._stream = (
            None
            if sample_rate_hz == MODEL_RATE_HZ
            else soxr.ResampleStream(sample_rate_hz, MODEL_RATE_HZ, 1, dtype="float32")
        )

    def push(self, samples: Samples) -> Samples:
        """Returns the 16 kHz samples that these complete, often none."""
        return samples if self._stream is None else self._chunk(samples, last=False)

    def finish(self) -> Samples:
        """Returns the 16 kHz samples still inside the filter."""
        nothing = np.zeros(0, np.float32)
        return nothing if self._stream is None else self._chunk(nothing, last=True)

    def _chunk(self, samples: Samples, *, last: bool) -> Samples:
        assert self._stream is not None
        return np.asarray(self._stream.resample_chunk(samples, last=last), np.float32)
