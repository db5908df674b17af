"""The stream's clock: frames, and samples of the client's audio, in integers, so nothing drifts."""

from dataclasses import dataclass
from fractions import Fraction

FRAME_RATE = 25
"""The model's own rate in frames a second."""
MODEL_RATE_HZ = 16_000
MODEL_SAMPLES_PER_FRAME = MODEL_RATE_HZ // FRAME_RATE
NANOSECONDS = 1_000_000_000
MODEL_FRAME_RATE = Fraction(FRAME_RATE)


@dataclass(frozen=True, slots=True)
class Clock:
    """Relates frames of a rate to the samples of one audio rate."""

    sample_rate_hz: int
    frame_rate: Fraction = MODEL_FRAME_RATE

    def first_sample(self, frame: int) -> int:
        """Returns the sample at which a frame begins: floor(frame * rate / fps)."""
        fps = self.frame_rate
        return frame * self.sample_rate_hz * fps.denominator // fps.numerator

    def frame_count(self, samples: int) -> int:
        """Returns how many frames it takes to cover some samples: ceil(samples * fps / rate)."""
        fps = self.frame_rate
        return -(-samples * fps.numerator // (self.sample_rate_hz * fps.denominator))


def presentation_time_ns(frame: int, frame_rate: Fraction = MODEL_FRAME_RATE) -> int:
    """Returns when a frame is to be shown, in nanoseconds from the stream's start."""
    return frame * NANOSECONDS * frame_rate.denominator // frame_rate.numerator
