"""What exporting a network takes, by the size of its file.

The factors fit what processes that exported one network each had taken at most, with random weights
of several sizes and precisions; docs/exports.md has those of the public sizes.
"""

from collections.abc import Mapping

from export.onnx.trace import EMBEDDED_BYTES
from export.precision.policy import Precision

PROGRAM_BYTES = 1_700_000_000
"""torch, ONNX Runtime, and what small networks compute in."""
EMBEDDED = 6.2
"""So many times its weights takes a network that is written into one protobuf."""
COMPARED = 2.5
"""So many times its weights it takes to run it in torch and in ONNX Runtime."""
SECONDS: Mapping[tuple[str, Precision], tuple[int, int]] = {
    ("audio_encoder", "fp32"): (377, 22),
    ("image_encoder", "fp16"): (1_224, 93),
    ("text_encoder", "bf16"): (11_362, 421),
    ("vae_encoder", "fp16"): (107, 142),
    ("time_modulation", "fp32"): (68, 11),
    ("denoiser", "fp16"): (3_631, 544),
    ("denoiser_cached", "fp32"): (12, 7),
    ("vae_decoder", "fp16"): (147, 172),
}
"""Of docs/exports.md: megabytes of the file, and seconds on one thread."""
SAME_SIZE = 0.1
"""A file is of a measured size that differs by no more than this part of it."""


def export_bytes(network: str, precision: Precision, *, file: int, wide: int) -> int:
    """Returns the most memory that exporting a network takes.

    Args:
        network: its name.
        precision: that of its file.
        file: bytes of its file.
        wide: bytes that it would have in float32.
    """
    traced = EMBEDDED * file if file <= EMBEDDED_BYTES else file
    compared = _compared(precision, file, wide)
    return PROGRAM_BYTES + round(max(traced, compared, _loaded(network, precision, wide)))


def seconds(network: str, precision: Precision, file: int) -> int | None:
    """Returns how long it took on one thread, if a file of this size was measured."""
    known_mb, known_s = SECONDS.get((network, precision), (0, 0))
    return known_s if abs(file / 1e6 - known_mb) <= SAME_SIZE * known_mb else None


def _compared(precision: Precision, file: int, wide: int) -> float:
    match precision:
        case "bf16":
            return 0.0
        case "int8":
            return COMPARED * file
        case _:
            # In 16 bits both widen it: torch as told, ONNX Runtime since it has no kernels.
            return COMPARED * wide


def _loaded(network: str, precision: Precision, wide: int) -> int:
    """Returns what the weights take before they are rounded to 8 bits; umT5's are not widened."""
    return wide if precision == "int8" and network != "text_encoder" else 0
