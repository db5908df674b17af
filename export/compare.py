"""Checks an ONNX file against the torch module it came from, on inputs it has not seen."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from server.contract import Network

FLOAT_TOLERANCE = 1e-4
LEVEL_TOLERANCE = 1


class ExportDiffersError(Exception):
    """An exported network does not compute what its module computes."""


def check_export(
    network: Network, path: Path, module: nn.Module, inputs: Mapping[str, Tensor]
) -> float:
    """Compares every output; returns the largest difference of the float ones.

    Raises:
        ExportDiffersError: floats differ by more than 1e-4 (absolute, and relative to values above
            1), or bytes by more than one level.
    """
    with torch.inference_mode():
        results = module(*inputs.values())
    expected = dict(
        zip(
            (tensor.name for tensor in network.outputs),
            results if isinstance(results, tuple) else (results,),
            strict=True,
        )
    )
    actual = run_onnx(path, inputs, list(expected))
    largest = 0.0
    for name, array in actual.items():
        largest = max(largest, _difference(network.name, name, array, expected[name].numpy()))
    return largest


def run_onnx(
    path: Path, inputs: Mapping[str, Tensor], outputs: list[str]
) -> dict[str, NDArray[np.generic]]:
    """Runs an ONNX file once on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {name: tensor.numpy() for name, tensor in inputs.items()}
    return dict(zip(outputs, session.run(outputs, feeds), strict=True))  # pyright: ignore[reportReturnType]


def _difference(
    network: str, output: str, actual: NDArray[np.generic], expected: NDArray[np.generic]
) -> float:
    where = f"{network}: {output} of the ONNX file"
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise ExportDiffersError(
            f"{where} is {actual.dtype} {actual.shape}, not {expected.dtype} {expected.shape}"
        )
    difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    if expected.dtype == np.uint8:
        if difference.max() > LEVEL_TOLERANCE:
            raise ExportDiffersError(f"{where} differs by {difference.max():g} levels")
        return 0.0
    allowed = FLOAT_TOLERANCE * np.maximum(1, np.abs(expected))
    if not (difference <= allowed).all():
        raise ExportDiffersError(f"{where} differs by {difference.max():.2g}")
    return float(difference.max())
