"""Checks an ONNX file against the torch module it came from, on inputs it has not seen."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.errors import ExportError
from export.onnx.graph import open_session
from export.precision.policy import Precision
from server.triton.contract import Arrays, Network, cast

FLOAT_TOLERANCE = 1e-4
LEVEL_TOLERANCE = 1
ROUNDING: dict[Precision, float] = {"fp16": 0.01, "fp8": 2 / 16}
"""In 16 bits only ONNX Runtime rounds what lies between: the norm of the difference is within this
part of the norm of the output. In fp8 a little difference puts some values on the other side of a
step, and layer after layer adds more of them: both are within a sixteenth, which E4M3 rounds by. A
wrong graph differs by all of it."""


class ExportDiffersError(ExportError):
    """An exported network does not compute what its module computes."""


def check_export(
    network: Network,
    path: Path,
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    precision: Precision = "fp32",
) -> float:
    """Compares every output; returns the largest difference of the float ones.

    In bf16 nothing can be compared: ONNX Runtime does not compute in it on a CPU.

    Returns:
        In fp32 and int8 the largest absolute difference, in fp16 and fp8 the largest relative norm
        of one.

    Raises:
        ExportDiffersError: in fp32 and int8, floats differ by more than 1e-4 (absolute, and
            relative to values above 1), or bytes by more than one level; in fp16 and fp8 they
            differ by more than rounding does, or are not finite.
    """
    if precision == "bf16":
        return 0.0
    given = {name: tensor.numpy() for name, tensor in inputs.items()}
    on_the_wire = network.on_the_wire(precision)
    sent = cast(on_the_wire.inputs, given)
    rounded = cast(network.inputs, sent)
    with torch.inference_mode(), computing_in_32_bits(module):
        results = module(*map(torch.from_numpy, rounded.values()))
    outputs = results if isinstance(results, tuple) else (results,)
    expected = cast(
        on_the_wire.outputs,
        {t.name: array.numpy() for t, array in zip(network.outputs, outputs, strict=True)},
    )
    actual = run_onnx(path, sent, list(expected))
    _check_finite(network.name, actual)
    largest = 0.0
    for name, array in actual.items():
        pair = (network.name, name, array, expected[name])
        rounding = ROUNDING.get(precision)
        found = _difference(*pair) if rounding is None else _relative_difference(*pair, rounding)
        largest = max(largest, found)
    return largest


@contextmanager
def computing_in_32_bits(module: nn.Module) -> Generator[None]:
    """Widens a module's weights for a while: torch is slow in 16 bits on a CPU.

    What they were rounded to stays, so that taking them back changes nothing.
    """
    tensors = [*module.parameters(), *module.buffers()]
    narrow = [(tensor, tensor.dtype) for tensor in tensors if tensor.dtype == torch.float16]
    for tensor, _ in narrow:
        tensor.data = tensor.data.float()
    try:
        yield
    finally:
        for tensor, dtype in narrow:
            tensor.data = tensor.data.to(dtype)


def verdict(difference: float, precision: Precision) -> str:
    """Returns what ``check_export`` found, in words."""
    match precision:
        case "fp32" | "int8":
            return f"differs from torch by {difference:.0e}"
        case "fp16" | "fp8":
            return f"differs from torch by {difference:.0e} of its norm"
        case "bf16":
            return "not compared with torch: ONNX Runtime has no bf16 on a CPU"


def run_onnx(path: Path, inputs: Arrays, outputs: list[str]) -> dict[str, NDArray[np.generic]]:
    """Runs an ONNX file once on the CPU."""
    session = open_session(path)
    return dict(zip(outputs, session.run(outputs, dict(inputs)), strict=True))  # pyright: ignore[reportReturnType]


def _check_finite(network: str, outputs: Mapping[str, NDArray[np.generic]]) -> None:
    for name, array in outputs.items():
        if array.dtype != np.uint8 and not np.isfinite(array).all():
            raise ExportDiffersError(
                f"{network}: {name} of the ONNX file is not finite; in fp16 that is an overflow "
                "of these weights, so choose bf16 or fp32 (for the VAE alone: --vae-precision)"
            )


def _difference(
    network: str, output: str, actual: NDArray[np.generic], expected: NDArray[np.generic]
) -> float:
    where = _same_kind(network, output, actual, expected)
    difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    if expected.dtype == np.uint8:
        if difference.max() > LEVEL_TOLERANCE:
            raise ExportDiffersError(f"{where} differs by {difference.max():g} levels")
        return 0.0
    allowed = FLOAT_TOLERANCE * np.maximum(1, np.abs(expected))
    if not (difference <= allowed).all():
        raise ExportDiffersError(f"{where} differs by {difference.max():.2g}")
    return float(difference.max())


def _relative_difference(
    network: str,
    output: str,
    actual: NDArray[np.generic],
    expected: NDArray[np.generic],
    allowed: float,
) -> float:
    where = _same_kind(network, output, actual, expected)
    difference = actual.astype(np.float64) - expected.astype(np.float64)
    relative = float(np.linalg.norm(difference) / np.linalg.norm(expected.astype(np.float64)))
    if not relative <= allowed:
        raise ExportDiffersError(f"{where} differs by {relative:.2g} of its norm")
    return relative


def _same_kind(
    network: str, output: str, actual: NDArray[np.generic], expected: NDArray[np.generic]
) -> str:
    where = f"{network}: {output} of the ONNX file"
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise ExportDiffersError(
            f"{where} is {actual.dtype} {actual.shape}, not {expected.dtype} {expected.shape}"
        )
    return where
