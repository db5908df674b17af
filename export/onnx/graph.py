"""ONNX files, read and run."""

from pathlib import Path

import onnx
import onnxruntime
import torch
from google.protobuf.message import DecodeError
from onnx import ModelProto

from export.errors import ExportError


class GraphError(ExportError):
    """An ONNX file of a repository is missing or damaged."""


def load_graph(file: Path) -> ModelProto:
    """Reads a graph without the weights that lie beside it.

    Raises:
        GraphError: the file is missing or damaged.
    """
    try:
        return onnx.load(file, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise GraphError(_damaged(file, error)) from error


def open_session(file: Path) -> onnxruntime.InferenceSession:
    """Returns a session on the CPU, with as many threads as torch has.

    Raises:
        GraphError: the file is missing or damaged.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    # ONNX Runtime's errors have nothing in common.
    except Exception as error:
        raise GraphError(_damaged(file, error)) from error


def _damaged(file: Path, error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return f"{file} cannot be used: {reason}; export it again"
