"""Optimization profiles: the least, the usual and the greatest length of each dimension.

TensorRT builds an engine for ranges of lengths, and the fastest kernels for the usual ones. They
follow from what the server offers: sizes of pictures, lengths of windows, branches of the guidance.
An engine has a profile for each size and window, since one for all would take the memory of the
largest and the kernels of none.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

from server.audio.clock import FRAME_RATE, MODEL_SAMPLES_PER_FRAME
from server.pictures.face import DETECTOR_SIDE_PX
from server.triton.contract import (
    AUDIO_ENCODER,
    AUDIO_TOKENS_PER_FRAME,
    AUDIO_WINDOW,
    DENOISER,
    FRAMES_PER_LATENT,
    NETWORKS,
    PATCH,
    PIXELS_PER_LATENT,
    PREVIEW_DENOISER,
    TEXT_STEP,
    TEXT_TOKENS,
    TIME_MODULATION,
    Network,
    Variant,
    latent_frames,
)

SIZES = ((512, 512), (256, 256), (768, 768), (512, 768), (768, 512))
"""Width and height of the pictures that a repository offers; the first is the usual one."""
WINDOWS = (33, 17, 9, 5, 81)
"""Lengths of windows in video frames; the first is the usual one."""
BRANCHES: Mapping[Network, int] = {DENOISER: 2, PREVIEW_DENOISER: 3}
"""Rows that one guided step of a stream has."""
AUDIO_CONTEXT_FRAMES = 55
"""What a window of the gateway's defaults hears before and after itself."""
OVERLAP_FRAMES = 5
"""What a later window of the gateway's defaults knows."""
MAX_AUDIO_S = 60
MAX_STEPS = 50
SMALLEST_DETECTOR_SIDE_PX = 32


@dataclass(frozen=True, slots=True)
class Range:
    """A length: at least ``low``, usually ``usual``, at most ``high``."""

    low: int
    usual: int
    high: int

    def scaled(self, factor: float) -> "Range":
        """Returns the range of a length that is a multiple of this one."""
        return Range(*(round(length * factor) for length in (self.low, self.usual, self.high)))


Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]
"""For each input of a network its least, usual and greatest shape."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What an engine is to be good at.

    Attributes:
        variant: how many branches a guided step has.
        sizes: (width, height) of pictures; the first is the usual one.
        windows: lengths in video frames, 4k + 1 each; the first is the usual one.
        streams: how many streams' steps may be merged into one batch.
    """

    variant: Variant
    sizes: Sequence[tuple[int, int]]
    windows: Sequence[int]
    streams: int = 1


def profiles(network: Network, workload: Workload, widths: Mapping[str, int]) -> list[Profile]:
    """Returns the profiles of a network, one for each size and window, the usual ones first.

    A window's profile takes all shorter lengths, too, down to the next shorter window, since the
    last one of an utterance is as long as what is left. Where sizes or windows make no difference
    there are fewer.

    Args:
        network: which.
        workload: what it is to be good at.
        widths: the dimensions that the checkpoint fixes.
    """
    if network.name == AUDIO_ENCODER.name:
        # What it hears lies around the window, and has lengths of its own.
        return [profile(network, workload, widths)]
    found: list[Profile] = []
    for size, span in product(workload.sizes, _spans(workload.windows)):
        of_span = profile(network, replace(workload, sizes=[size], windows=span), widths)
        if of_span not in found:
            found.append(of_span)
    return found


def profile(network: Network, workload: Workload, widths: Mapping[str, int]) -> Profile:
    """Returns one profile for all sizes and windows of a workload.

    Args:
        network: which.
        workload: what it is to be good at.
        widths: the dimensions that the checkpoint fixes.
    """
    ranges = {"batch": _batch(network, workload), **_lengths(network, workload)}
    return {
        tensor.name: (
            tuple(_length(dim, ranges, widths).low for dim in ("batch", *tensor.dims)),
            tuple(_length(dim, ranges, widths).usual for dim in ("batch", *tensor.dims)),
            tuple(_length(dim, ranges, widths).high for dim in ("batch", *tensor.dims)),
        )
        for tensor in network.inputs
    }


def warm_up_shapes(
    network: Network, workload: Workload, widths: Mapping[str, int]
) -> Mapping[str, Shape]:
    """Returns what the shortest window of the smallest size asks of a network, its batch first."""
    smallest = Workload(
        workload.variant, [min(workload.sizes, key=math.prod)], [min(workload.windows)]
    )
    shapes = profile(network, smallest, widths)
    return {name: usual for name, (_, usual, _) in shapes.items()}


def _length(dim: int | str, ranges: Mapping[str, Range], widths: Mapping[str, int]) -> Range:
    if isinstance(dim, int):
        return Range(dim, dim, dim)
    return Range(*[widths[dim]] * 3) if dim in widths else ranges[dim]


def _batch(network: Network, workload: Workload) -> Range:
    if network is TIME_MODULATION:
        return Range(1, 8, MAX_STEPS)
    return Range(1, 1, min(workload.streams, network.max_batch_size))


def _lengths(network: Network, workload: Workload) -> dict[str, Range]:
    frames = _range(workload.windows)
    latents = Range(*map(latent_frames, (frames.low, frames.usual, frames.high)))
    width = _range([width for width, _ in workload.sizes])
    height = _range([height for _, height in workload.sizes])
    token_area = _range([w * h // (PIXELS_PER_LATENT * PATCH) ** 2 for w, h in workload.sizes])
    heard = Range(frames.low, frames.usual + AUDIO_CONTEXT_FRAMES, MAX_AUDIO_S * FRAME_RATE)
    detector = Range(SMALLEST_DETECTOR_SIDE_PX, DETECTOR_SIDE_PX, DETECTOR_SIDE_PX)
    per_token = 1 / (PIXELS_PER_LATENT * PATCH)
    branches = BRANCHES[NETWORKS[workload.variant]["denoiser"]]
    known = OVERLAP_FRAMES if frames.usual > OVERLAP_FRAMES else 1
    return {
        "samples": heard.scaled(MODEL_SAMPLES_PER_FRAME),
        "frames": heard if network.name == "audio_encoder" else frames,
        "audio_tokens": frames.scaled(AUDIO_TOKENS_PER_FRAME),
        "rows": Range(1, branches, branches),
        "texts": Range(1, 2, 2),
        "text_tokens": _text_tokens(network),
        "heard_frames": Range(
            *(n + AUDIO_WINDOW - 1 for n in (frames.low, frames.usual, frames.high))
        ),
        # Together they have the frames of a window, and neither is without one.
        "known_frames": Range(1, known, frames.high - 1),
        "grey_frames": Range(1, frames.usual - known, frames.high - 1),
        "latent_frames": latents,
        "height": height,
        "width": width,
        "latent_height": height.scaled(1 / PIXELS_PER_LATENT),
        "latent_width": width.scaled(1 / PIXELS_PER_LATENT),
        "token_rows": height.scaled(per_token),
        "token_columns": width.scaled(per_token),
        "tokens": Range(
            latents.low * token_area.low,
            latents.usual * token_area.usual,
            latents.high * math.ceil(width.high * height.high * per_token**2),
        ),
        "detector_height": detector,
        "detector_width": detector,
    }


def _text_tokens(network: Network) -> Range:
    """Returns the lengths of prompts: umT5 is given the longest, the denoiser what there is."""
    if network.name == "text_encoder":
        return Range(*[TEXT_TOKENS] * 3)
    return Range(TEXT_STEP, TEXT_STEP, TEXT_TOKENS)


def _spans(windows: Sequence[int]) -> list[list[int]]:
    """Returns each window, with the least length that is longer than the next shorter window."""
    shorter = dict(pairwise(sorted(set(windows))))
    above = {window: length + FRAMES_PER_LATENT for length, window in shorter.items()}
    return [[window, above.get(window, window)] for window in windows]


def _range(lengths: Sequence[int]) -> Range:
    return Range(min(lengths), lengths[0], max(lengths))
