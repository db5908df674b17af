"""The stream's clock: frames, and samples of the client's audio, in integers, so nothing drifts."""

from dataclasses import dataclass

FRAME_RATE = 25
"""The model's own rate in frames a second."""
MODEL_RATE_HZ = 16_000
MODEL_SAMPLES_PER_FRAME = MODEL_RATE_HZ // FRAME_RATE
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Clock:
    """Relates frames to the samples of one audio rate."""

    sample_rate_hz: int

    def first_sample(self, frame: int) -> int:
        """Returns the sample at which a frame begins: floor(frame * rate / 25)."""
        return frame * self.sample_rate_hz // FRAME_RATE

    def frame_count(self, samples: int) -> int:
        """Returns how many frames it takes to cover some samples: ceil(samples * 25 / rate)."""
        return -(-samples * FRAME_RATE // self.sample_rate_hz)


def presentation_time_ns(frame: int) -> int:
    """Returns when a frame is to be shown, in nanoseconds from the stream's start."""
    return frame * NANOSECONDS // FRAME_RATE
