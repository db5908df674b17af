"""A checkpoint to a Triton model repository: ONNX files, config.pbtxt, tokenizer, manifest.

Every network is written to a folder beside its place and moved there when it is complete and
checked; Triton takes no notice of folders that are no numbers. The manifest, without which the
gateway takes no repository, comes last and is removed first.
"""

import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import onnx
import torch
from rich import filesize

from export import checkpoint as layout
from export.checkpoint import Checkpoint
from export.compare import check_export, verdict
from export.denoiser_config import Riflex
from export.face_detector import face_detector
from export.half_storage import store_halves
from export.model_config import BACKEND, MODEL_FILE, PUBLIC_WIDTHS, config_pbtxt
from export.networks import Exportable, Shape, networks
from export.origin import Origin, tool_versions
from export.precision import Precision, precision_of
from export.profiles import WINDOWS, Workload, warm_up_shapes
from export.styles import encode
from server import manifest, styles
from server.contract import FACE_DETECTOR, NETWORKS, Dim, Network, Tensor, fingerprint
from server.manifest import Manifest, NetworkEntry
from server.styles import write_styles

OPSET = 20
VERSION = "1"
TRACED = Shape(batch=2, frames=3, height=8, width=6)
# Unlike the traced one in every length, so that a length baked into the graph is found out.
CHECKED = (
    Shape(batch=1, frames=2, height=6, width=10),
    Shape(batch=3, frames=5, height=4, width=8),
)
EMBEDDED_BYTES = 3 * 2**29

STAGES = 3 + len(CHECKED)
"""How many stages of each network are reported."""


class Report(Protocol):
    """Told of every stage as it begins; the last of a network carries its result."""

    def __call__(self, stage: str, *, result: bool = False) -> None:
        """Takes a line for the operator."""


def export_repository(
    checkpoint: Checkpoint,
    repository: Path,
    *,
    sizes: Sequence[tuple[int, int]],
    report: Report,
    precision: Precision = "fp32",
    text_precision: Precision | None = None,
    riflex: Riflex | None = None,
    halves: bool = False,
    prompts: Mapping[str, str] | None = None,
) -> None:
    """Writes a repository that the gateway and Triton can serve.

    Args:
        checkpoint: where the weights are.
        repository: where the models go.
        sizes: (width, height) to offer; the first is the default.
        report: told what is being done.
        precision: of the large weights.
        text_precision: of umT5's, where it is to be another one.
        riflex: a change of the denoiser's temporal frequencies, for clips of a known length.
        halves: store the weights that half precision holds exactly in half the room.
        prompts: by name, to be encoded now, so that the text encoder is left out.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ExportDiffersError: an ONNX file does not compute what its module computes.
    """
    tokenizer = checkpoint.existing(layout.TOKENIZER)
    repository.mkdir(parents=True, exist_ok=True)
    (repository / manifest.FILE).unlink(missing_ok=True)
    builds = networks(checkpoint, precision, riflex, text_precision)
    precisions: dict[str, Precision] = {name: precision_of(name, precision) for name in builds}
    precisions["text_encoder"] = text_precision or precision
    if prompts is not None:
        report("text_encoder: encoding the prompts")
        encoded = encode(checkpoint, prompts, precisions["text_encoder"])
        write_styles(repository / styles.FILE, encoded)
        del builds["text_encoder"]
        shutil.rmtree(repository / "text_encoder", ignore_errors=True)
    workload = Workload(checkpoint.variant, sizes, WINDOWS)
    digest = checkpoint.digest()
    for name, build in builds.items():
        narrow = precisions[name]
        origin = Origin(digest, narrow, riflex if name == "denoiser" else None, halves)
        folder = repository / name
        if origin.is_of(folder / VERSION):
            report(f"{name}: kept", result=True)
        else:
            report(f"{name}: loading")
            export_network(build(checkpoint), folder, report, narrow, halves=halves, origin=origin)
        write_config(NETWORKS[checkpoint.variant][name], folder, workload, narrow)
    names = list(builds)
    if checkpoint.variant == "preview":
        names.append(FACE_DETECTOR.name)
        copy_face_detector(repository / FACE_DETECTOR.name, workload, report)
    shutil.copyfile(tokenizer, repository / manifest.TOKENIZER)
    description = Manifest(
        variant=checkpoint.variant,
        contract=fingerprint(checkpoint.variant),
        checkpoint_digest=digest,
        networks={
            name: NetworkEntry(backend=BACKEND, precision=precisions.get(name, "fp32"))
            for name in names
        },
        sizes=tuple(sizes),
        styles=dict(prompts or {}),
        tool_versions=dict(tool_versions()),
    )
    (repository / manifest.FILE).write_text(description.model_dump_json(indent=2) + "\n")


def export_network(
    exportable: Exportable,
    folder: Path,
    report: Report,
    precision: Precision = "fp32",
    *,
    halves: bool = False,
    origin: Origin | None = None,
) -> None:
    """Writes the files of one network, checked against the module.

    Raises:
        ExportDiffersError: the ONNX file does not compute what the module computes.
    """
    network = exportable.network
    version, partial = folder / VERSION, folder / f"{VERSION}.partial"
    for path in (version, partial):
        shutil.rmtree(path, ignore_errors=True)
    partial.mkdir(parents=True)
    report(f"{network.name}: tracing")
    write_onnx(exportable, partial / MODEL_FILE, halves=halves)
    largest = 0.0
    for shape in CHECKED:
        report(f"{network.name}: comparing with torch")
        inputs = exportable.inputs(shape)
        difference = check_export(
            network, partial / MODEL_FILE, exportable.module, inputs, precision
        )
        largest = max(largest, difference)
    if origin is not None:
        origin.note(partial)
    partial.rename(version)
    size = filesize.decimal(sum(file.stat().st_size for file in version.iterdir()))
    report(f"{network.name}: {size}, {verdict(largest, precision)}", result=True)


def write_config(
    network: Network, folder: Path, workload: Workload, precision: Precision = "fp32"
) -> None:
    """Writes the config.pbtxt of a network whose ONNX file is there."""
    model = onnx.load(folder / VERSION / MODEL_FILE, load_external_data=False)
    fixed = widths(model, network)
    warm_up = warm_up_shapes(network, workload, fixed)
    config = config_pbtxt(network, fixed, warm_up, precision=precision)
    (folder / "config.pbtxt").write_text(config)


def copy_face_detector(folder: Path, workload: Workload, report: Report) -> None:
    """Writes the model folder of the face detector, which is no part of a checkpoint.

    Raises:
        FaceDetectorMissingError: its package is not installed.
    """
    target = folder / VERSION / MODEL_FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(face_detector(), target)
    write_config(FACE_DETECTOR, folder, workload)
    report(f"{FACE_DETECTOR.name}: {target.stat().st_size / 1e6:.1f} MB", result=True)


def write_onnx(exportable: Exportable, path: Path, *, halves: bool = False) -> None:
    """Writes a network as an ONNX graph whose inputs and outputs are those of the contract.

    Weights of more than EMBEDDED_BYTES go to a file beside it: a protobuf holds 2 GB at most.
    """
    program = trace(exportable)
    parameters = exportable.module.state_dict().values()
    size = sum(tensor.numel() * tensor.element_size() for tensor in parameters)
    program.save(path, external_data=size > EMBEDDED_BYTES)
    model = onnx.load(path, load_external_data=False)
    for axis, dim in _dimensions(model, exportable.network):
        if isinstance(dim, str) and dim not in PUBLIC_WIDTHS:
            axis.dim_param = dim
    forget_sources(model)
    if halves:
        store_halves(model)
    onnx.save(model, path)


def forget_sources(model: onnx.ModelProto) -> None:
    """Drops what the exporter notes at every node: lines of source, with this machine's paths."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for weight in graph.initializer:
        weight.ClearField("metadata_props")


def trace(exportable: Exportable) -> torch.onnx.ONNXProgram:
    """Traces a network with dimensions that vary as the contract says."""
    network = exportable.network
    inputs = exportable.inputs(TRACED)
    dynamic = tuple(_dynamic_axes(tensor) for tensor in network.inputs)
    # It says at every export that torchvision, which nothing here needs, is not installed.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.inference_mode():
        # The exporter warns about its own internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            exportable.module,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=[tensor.name for tensor in network.inputs],
            output_names=[tensor.name for tensor in network.outputs],
            dynamic_shapes=dynamic,
            verbose=False,
        )
    assert program is not None
    return program


def widths(model: onnx.ModelProto, network: Network) -> dict[str, int]:
    """Returns the dimensions that the checkpoint fixes, though the contract does not."""
    return {
        dim: axis.dim_value
        for axis, dim in _dimensions(model, network)
        if isinstance(dim, str) and dim in PUBLIC_WIDTHS
    }


def _dimensions(
    model: onnx.ModelProto, network: Network
) -> Iterator[tuple[onnx.TensorShapeProto.Dimension, Dim]]:
    """Yields every dimension of the graph's inputs and outputs with its name in the contract."""
    values = [*model.graph.input, *model.graph.output]
    for value, tensor in zip(values, (*network.inputs, *network.outputs), strict=True):
        axes = value.type.tensor_type.shape.dim
        yield from zip(axes, ("batch", *tensor.dims), strict=True)


def _dynamic_axes(tensor: Tensor) -> dict[int, Any]:
    """Returns the axes that vary from call to call; batch is the first."""
    varying = [0] + [
        axis
        for axis, dim in enumerate(tensor.dims, start=1)
        if isinstance(dim, str) and dim not in PUBLIC_WIDTHS
    ]
    return dict.fromkeys(varying, torch.export.Dim.AUTO)
