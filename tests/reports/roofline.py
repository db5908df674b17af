"""What a card could do at most with a stream's windows, and with a share of its peak."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from export.precision.policy import Precision
from server.audio.clock import FRAME_RATE
from server.triton.contract import FRAMES_PER_LATENT
from tests.reports.operations import Work

MIN_WINDOW = 5

UNGUIDED = "denoiser_unguided"
"""A step of the denoiser for one branch; `denoiser` is one with guidance, for two."""


@dataclass(frozen=True, slots=True)
class Card:
    """Peaks of a card: operations a second by the width of factors, and bytes a second."""

    name: str
    fp32: float
    fp16: float
    fp8: float
    bandwidth: float


CARDS = {
    "h100": Card("H100 SXM", 494.7e12, 989.4e12, 1978.9e12, 3.35e12),
    "rtx4090": Card("RTX 4090", 82.6e12, 165.2e12, 330.3e12, 1.008e12),
}
"""Dense, from NVIDIA's data sheets: TF32 in place of fp32, and sums in 32 bits."""


@dataclass(frozen=True, slots=True)
class Service:
    """How a stream is made.

    Attributes:
        size: width and height in pixels.
        window: video frames.
        overlap: of them, those that the window before had.
        steps: of denoising.
        skip_ratio: the last part of the steps that goes without guidance.
        cached_steps: of all steps, those that TeaCache skips.
        precision: fp16 or fp8.
        light: whether lightvaew2_1 decodes.
    """

    size: tuple[int, int]
    window: int = 33
    overlap: int = 5
    steps: int = 8
    skip_ratio: float = 0.0
    cached_steps: int = 0
    precision: Precision = "fp16"
    light: bool = False

    @property
    def problem(self) -> str:
        """What is wrong with it, or nothing."""
        if (self.window - 1) % FRAMES_PER_LATENT or self.window < MIN_WINDOW:
            return f"--window is {self.window}; a window has 4k + 1 frames, as 17 or 33"
        if not 0 < self.overlap < self.window:
            return "--overlap is no part of the window"
        if not (self.steps > 0 and 0 <= self.cached_steps < self.steps):
            return "--steps is not above 0, or --cached-steps leaves none"
        return "" if 0 <= self.skip_ratio <= 1 else "--guidance-skip-ratio is not from 0 to 1"

    @property
    def window_s(self) -> float:
        """Seconds of video that a window adds."""
        return (self.window - self.overlap) / FRAME_RATE


def executions(service: Service) -> dict[str, int]:
    """Returns how often each network is run for a window, once a stream goes on.

    Steps that are skipped are taken from those without guidance, which save less.
    """
    unguided = sum(
        step >= service.steps * (1 - service.skip_ratio) for step in range(service.steps)
    )
    cached = service.cached_steps
    found = {
        "audio_encoder": 1,
        "vae_encoder": 1,
        "denoiser": service.steps - unguided - max(0, cached - unguided),
        UNGUIDED: max(0, unguided - cached),
        "time_modulation": service.steps if cached else 0,
        "denoiser_cached": cached,
        "vae_decoder": 1,
    }
    return {name: times for name, times in found.items() if times}


def floor_s(work: Work, card: Card) -> float:
    """Returns the seconds that an execution takes at least, which computes while it moves bytes."""
    of = work.operations
    wide = card.fp32 if work.precision == "fp32" else card.fp16
    matrices = card.fp8 if work.precision == "fp8" else wide
    computing = of.matrices / matrices + (of.attention + of.convolutions) / wide
    return max(computing, work.bytes / card.bandwidth)


@dataclass(frozen=True, slots=True)
class Line:
    """A network's part of a window, in seconds: the least, and what is expected."""

    network: str
    times: int
    work: Work
    floor_s: float
    expected_s: float
    is_measured: bool


def roofline(
    service: Service,
    card: Card,
    work: Callable[[str, Service], Work],
    share: float,
    measured_s: Mapping[str, float],
) -> list[Line]:
    """Returns every network's part of a window.

    Args:
        service: how the stream is made.
        card: runs it.
        work: of one execution of a network.
        share: of the peak that is expected of executions that were not measured.
        measured_s: of one execution each, on that card.
    """
    lines: list[Line] = []
    for name, times in executions(service).items():
        each = work(name, service)
        least = floor_s(each, card)
        seconds = measured_s.get(name, least / share)
        found = Line(name, times, each, times * least, times * seconds, name in measured_s)
        lines.append(found)
    return lines


def streams(service: Service, seconds: float) -> float:
    """Returns how many streams windows of so many seconds serve, one execution after the other."""
    return service.window_s / seconds


def whole(streams: float) -> int:
    """Returns how many streams are never late."""
    return math.floor(streams)
