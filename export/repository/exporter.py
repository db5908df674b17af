"""A checkpoint to a Triton model repository: ONNX files, config.pbtxt, tokenizer, manifest.

Every network is written to a folder beside its place and moved there when it is complete and
checked; Triton takes no notice of folders that are no numbers. The manifest, without which the
gateway takes no repository, comes last and is removed first.
"""

import gc
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import onnx
from rich import filesize

from export.checkpoint import layout
from export.checkpoint.layout import Checkpoint
from export.models.denoiser.config import Riflex
from export.models.face_detector import face_detector
from export.models.face_mesh import portrait_network
from export.networks.catalogue import VAE, networks
from export.networks.exportable import Exportable, Shape
from export.networks.vae import AS_PUBLISHED, VaeChoice
from export.onnx.compare import check_export, verdict
from export.onnx.graph import load_graph
from export.onnx.opsets import NEWEST, Opset, opset_of
from export.onnx.trace import write_onnx
from export.onnx.widths import widths
from export.precision.calibration import Calibration, largest_inputs
from export.precision.policy import AS_ASKED, Fp8Scale, Precision, precision_of
from export.repository.model_config import BACKEND, MODEL_FILE, config_pbtxt
from export.repository.origin import Origin, exporter_digest, tool_versions
from export.repository.styles import encode
from export.tensorrt.profiles import WINDOWS, Workload, warm_up_shapes
from server import manifest
from server.animation.styles import FILE as STYLES_FILE
from server.animation.styles import write_styles
from server.manifest import Manifest, NetworkEntry
from server.triton.contract import (
    FACE_DETECTOR,
    LIGHT_DECODER,
    NETWORKS,
    PORTRAIT_NETWORKS,
    SERVED,
    Network,
    Variant,
    fingerprint,
)

VERSION = "1"
# Unlike the traced shape in every length, so that a length baked into a graph is found out.
CHECKED = (
    Shape(batch=1, frames=2, height=6, width=10),
    Shape(batch=3, frames=5, height=4, width=8),
)
STAGES = 3 + len(CHECKED)
"""How many stages of each network are reported."""


class Report(Protocol):
    """Told of every stage as it begins; the last of a network carries its result."""

    def __call__(self, stage: str, *, result: bool = False) -> None:
        """Takes a line for the operator."""


def count_stages(
    variant: Variant,
    prompts: Mapping[str, str] | None,
    calibration: Calibration | None,
    vae: VaeChoice = AS_PUBLISHED,
) -> int:
    """Returns how many stages an export reports, if it keeps nothing."""
    networks = len(NETWORKS[variant]) + (vae.beside is not None)
    stages = STAGES * networks + len(PORTRAIT_NETWORKS)
    return stages + (prompts is not None) + (calibration is not None)


def export_repository(
    checkpoint: Checkpoint,
    repository: Path,
    *,
    sizes: Sequence[tuple[int, int]],
    report: Report,
    precision: Precision = "fp32",
    others: Mapping[str, Precision] = AS_ASKED,
    riflex: Riflex | None = None,
    halves: bool = False,
    prompts: Mapping[str, str] | None = None,
    styles: Mapping[str, str] = MappingProxyType({}),
    calibration: Calibration | None = None,
    fp8_scale: Fp8Scale = "channel",
    vae: VaeChoice = AS_PUBLISHED,
    newest: Opset = NEWEST,
) -> None:
    """Writes a repository that the gateway and Triton can serve.

    Args:
        checkpoint: where the weights are.
        repository: where the models go.
        sizes: (width, height) to offer; the first is the default.
        report: told what is being done.
        precision: of the large weights.
        others: precisions of networks for which it is to be another one.
        riflex: a change of the denoiser's temporal frequencies, for clips of a known length.
        halves: store the weights that half precision holds exactly in half the room.
        prompts: by name, to be encoded now, so that the text encoder is left out.
        styles: prompts by name for the text encoder, if it is not left out; the first is the
            default.
        calibration: what fp8 takes its scales from.
        fp8_scale: what of a weight in fp8 has a scale of its own.
        vae: what is exported of the VAE.
        newest: the newest ONNX opset that may be used.

    Raises:
        CalibrationError: the portrait or the speech of the calibration cannot be used.
        CheckpointError: the checkpoint cannot be used.
        ExportDiffersError: an ONNX file does not compute what its module computes.
        PackageMissingError: a package is not installed that ships a network.
    """
    tokenizer = checkpoint.existing(layout.TOKENIZER)
    if calibration is not None:
        calibration.check()
    repository.mkdir(parents=True, exist_ok=True)
    (repository / manifest.FILE).unlink(missing_ok=True)
    builds = networks(checkpoint, precision, riflex, others, vae, newest)
    precisions: dict[str, Precision] = {
        name: precision_of(name, precision, others) for name in builds
    }
    if prompts is not None:
        report("text_encoder: encoding the prompts")
        encoded = encode(checkpoint, prompts, precisions["text_encoder"])
        write_styles(repository / STYLES_FILE, encoded)
        del builds["text_encoder"]
        shutil.rmtree(repository / "text_encoder", ignore_errors=True)
    if vae.beside is None:
        shutil.rmtree(repository / LIGHT_DECODER.name, ignore_errors=True)
    workload = Workload(checkpoint.variant, sizes, WINDOWS)
    digest = checkpoint.digest()
    packaged = {network: portrait_network(name) for name, network in PORTRAIT_NETWORKS.items()}
    if checkpoint.variant == "preview":
        packaged[FACE_DETECTOR] = face_detector()
    for network, model in packaged.items():
        copy_network(network, model, repository / network.name, workload, report)
    for name, build in builds.items():
        narrow = precisions[name]
        calibrated = calibration if narrow == "fp8" else None
        light = vae.decoder(name)
        origin = Origin(
            checkpoint=digest,
            precision=narrow,
            riflex=riflex if name == "denoiser" else None,
            halves=halves,
            calibration=None if calibrated is None else calibrated.digest(),
            exporter=exporter_digest(checkpoint.variant, name),
            decoder=None if light is None else light.name(),
            whole=vae.whole and name in VAE,
            fp8_scale=None if calibrated is None else fp8_scale,
            opset=opset_of(name, narrow, newest),
        )
        folder = repository / name
        if origin.is_of(folder / VERSION):
            report(f"{name}: kept", result=True)
        else:
            scales: dict[str, object] = {}
            if calibrated is not None:
                report(f"{name}: calibrating")
                measured = largest_inputs(checkpoint, calibrated)
                scales = {"largest_inputs": measured, "fp8_scale": fp8_scale}
            report(f"{name}: loading")
            # Held by no name here, and gone before the next is loaded: one at a time is in memory.
            export_network(
                build(checkpoint, **scales),
                folder,
                report,
                narrow,
                halves=halves,
                origin=origin,
            )
            gc.collect()
        write_config(SERVED[checkpoint.variant][name], folder, workload, narrow, digest)
    names = [*builds, *(network.name for network in packaged)]
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
        styles=dict(prompts or styles),
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
    write_onnx(exportable, partial / MODEL_FILE, precision, halves=halves)
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
    network: Network,
    folder: Path,
    workload: Workload,
    precision: Precision = "fp32",
    checkpoint: str | None = None,
) -> None:
    """Writes the config.pbtxt of a network whose ONNX file is there.

    Args:
        network: which.
        folder: its model folder.
        workload: what it is warmed up for.
        precision: of the large weights.
        checkpoint: the digest of the checkpoint that it is of, if it is of one.
    """
    model = load_graph(folder / VERSION / MODEL_FILE)
    fixed = widths(model, network)
    config = config_pbtxt(
        network.on_the_wire(precision),
        fixed,
        warm_up_shapes(network, workload, fixed),
        precision=precision,
        checkpoint=checkpoint,
    )
    (folder / "config.pbtxt").write_text(config)


def copy_network(
    network: Network, model: onnx.ModelProto, folder: Path, workload: Workload, report: Report
) -> None:
    """Writes the model folder of a network that is no part of a checkpoint."""
    target = folder / VERSION / MODEL_FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, target)
    write_config(network, folder, workload)
    report(f"{network.name}: {target.stat().st_size / 1e6:.1f} MB", result=True)
