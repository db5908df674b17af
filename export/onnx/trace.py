"""A network as an ONNX graph that has the names and the varying lengths of the contract."""

import gc
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto
from torch import Tensor as Array
from torch import nn
from torch._subclasses import FakeTensorMode

from export.networks.exportable import Exportable, Shape
from export.onnx.halves import halve_borders
from export.onnx.loop import AXIS, Loop, join
from export.onnx.norms import widen_norms
from export.onnx.opsets import Opset
from export.onnx.widths import PUBLIC_WIDTHS, dimensions
from export.precision.half_storage import store_halves
from export.precision.policy import Precision
from server.triton.contract import IN_16_BITS, Tensor

TRACED = Shape(batch=2, frames=3, height=8, width=6)
EMBEDDED_BYTES = 3 * 2**29
_IMAGES = dict.fromkeys((0, 3, 4), torch.export.Dim.AUTO)
"""What varies of [B, T, C, H, W] within a loop: the batch and the sides of a picture."""


def write_onnx(
    exportable: Exportable, path: Path, precision: Precision = "fp32", *, halves: bool = False
) -> None:
    """Writes a network as an ONNX graph whose inputs and outputs are those of the contract.

    Weights of more than EMBEDDED_BYTES go to a file beside it: a protobuf holds 2 GB at most. A
    network with a loop has no such weights.

    Args:
        exportable: the network.
        path: the file.
        precision: of its large weights.
        halves: store the weights that half precision holds exactly in half the room.
    """
    if exportable.loop is None:
        model = _trace_whole(exportable, path)
    else:
        model = _trace_loop(exportable, exportable.loop)
    for axis, dim in dimensions(model, exportable.network):
        if isinstance(dim, str) and dim not in PUBLIC_WIDTHS:
            axis.dim_param = dim
    if precision in IN_16_BITS:
        halve_borders(model, exportable.network)
    if halves:
        store_halves(model)
    onnx.save(model, path)


def _trace_whole(exportable: Exportable, path: Path) -> ModelProto:
    network = exportable.network
    program = _trace(
        exportable.opset,
        exportable.module,
        tuple(exportable.inputs(TRACED).values()),
        [_dynamic_axes(tensor) for tensor in network.inputs],
        [tensor.name for tensor in network.inputs],
        [tensor.name for tensor in network.outputs],
    )
    parameters = exportable.module.state_dict().values()
    size = sum(tensor.numel() * tensor.element_size() for tensor in parameters)
    program.save(path, external_data=size > EMBEDDED_BYTES)
    model = onnx.load(path, load_external_data=False)
    forget_sources(model)
    widen_norms(model)
    return model


def _trace_loop(exportable: Exportable, loop: Loop) -> ModelProto:
    network = exportable.network
    inputs = tuple(exportable.inputs(TRACED).values())
    # Only shapes and types are wanted; 16 bits are slow on a CPU.
    with FakeTensorMode(allow_non_fake_inputs=True):
        shapes = loop.opening(*inputs)
    first, frames, *states = (torch.zeros(t.shape, dtype=t.dtype) for t in shapes)
    chunk = frames[:, : loop.chunk].contiguous()
    names = [tensor.name for tensor in network.inputs]
    axes = tuple(_dynamic_axes(tensor) for tensor in network.inputs)
    opset = exportable.opset
    opening = _trace(opset, loop.opening, inputs, [axes], names)
    step = _trace(opset, loop.step, (chunk, *states), [_IMAGES, (_IMAGES,) * len(states)])
    closing = _trace(
        opset,
        loop.closing,
        (torch.cat([first, first], dim=AXIS),),
        [{AXIS: torch.export.Dim.AUTO, **_IMAGES}],
        output_names=[tensor.name for tensor in network.outputs],
    )
    parts = opening.model_proto, step.model_proto, closing.model_proto
    for part in parts:
        forget_sources(part)
    return join(*parts, loop.chunk)


def _trace(
    opset: Opset,
    module: nn.Module,
    inputs: tuple[Array, ...],
    dynamic: Sequence[Any],
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> torch.onnx.ONNXProgram:
    # It says at every export that torchvision, which nothing here needs, is not installed.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.inference_mode(), _rare_collections():
        # The exporter warns about its own internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            opset_version=opset,
            input_names=input_names,
            output_names=output_names,
            dynamic_shapes=tuple(dynamic),
            verbose=False,
        )
    assert program is not None
    return program


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Looks for garbage seldom: a trace makes millions of objects that stay, and looks at all."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 1000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def forget_sources(model: ModelProto) -> None:
    """Drops what the exporter notes at every node: lines of source, with this machine's paths."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for weight in graph.initializer:
        weight.ClearField("metadata_props")


def _dynamic_axes(tensor: Tensor) -> dict[int, Any]:
    """Returns the axes that vary from call to call; batch is the first."""
    varying = [0] + [
        axis
        for axis, dim in enumerate(tensor.dims, start=1)
        if isinstance(dim, str) and dim not in PUBLIC_WIDTHS
    ]
    return dict.fromkeys(varying, torch.export.Dim.AUTO)
