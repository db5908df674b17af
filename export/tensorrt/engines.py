"""A repository of ONNX files to one of TensorRT engines, network by network.

Each engine is built in a process of its own and moved into place when it is complete. What an
engine was made from is kept beside it, so a build that was interrupted goes on where it stopped.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from export.errors import ExportError
from export.onnx.graph import load_graph
from export.onnx.widths import widths
from export.repository.exporter import VERSION, Report
from export.repository.model_config import ENGINE_FILE, MODEL_FILE, TENSORRT, config_pbtxt
from export.tensorrt.builder import find_tensorrt
from export.tensorrt.profiles import Profile, Workload, profiles, warm_up_shapes
from server import manifest
from server.animation import styles
from server.manifest import Manifest, read_manifest
from server.triton.contract import SERVED
from server.triton.plans import CONTAINER, container_here

FACTS = "engine.json"
TIMING_CACHE = "timing.cache"
DIGEST_BYTES = 1 << 24


class EngineError(ExportError):
    """An engine cannot be built; the text is one line."""


@dataclass(frozen=True, slots=True)
class Target:
    """What engines are built for.

    Attributes:
        compute_capability: as "8.9"; None is the GPU at hand, the only choice of `tensorrt`.
        weight_streaming: lets weights stay in the host's memory where a GPU has too little.
    """

    compute_capability: str | None
    weight_streaming: bool = False


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """What became of one network."""

    network: str
    precision: str
    layers: int
    profiles: int
    max_batch_size: int
    """That every profile takes."""
    engine_bytes: int
    activation_bytes: int
    """What a run takes beside the weights, as the builder reports it."""
    seconds: float
    peak_bytes: int
    compute_capability: str | None
    builder: str
    made_from: str
    """A digest of the ONNX file, the profiles and the builder."""

    @property
    def summary(self) -> str:
        """What became of it, in a line."""
        return (
            f"{self.network}: {self.engine_bytes / 1e6:.1f} MB in {self.seconds:g} s, "
            f"{self.layers} layers, peak {self.peak_bytes / 1e9:.1f} GB"
        )


def build_engines(
    repository: Path,
    engines: Path,
    workload: Workload,
    target: Target,
    names: Sequence[str],
    report: Report,
) -> list[BuiltEngine]:
    """Builds the engines of some networks.

    Args:
        repository: of ONNX files, as the export writes it.
        engines: the repository to write.
        workload: what the engines are to be good at.
        target: what they are built for.
        names: of the networks; the repository's others are copied as they are, and those in int8,
            which are for a CPU.
        report: told of every network.

    Raises:
        EngineError: no TensorRT is installed, or a network is not there or cannot be built.
        GraphError: an ONNX file is missing or damaged.
        ManifestError: the repository cannot be used.
    """
    described = read_manifest(repository)
    if unknown := set(names) - (described.networks.keys() & SERVED[described.variant].keys()):
        raise EngineError(
            f"{repository} has no {', '.join(sorted(unknown))}, "
            f"only {', '.join(described.networks)}"
        )
    builder = installed_builder()
    engines.mkdir(parents=True, exist_ok=True)
    (engines / manifest.FILE).unlink(missing_ok=True)
    built: list[BuiltEngine] = []
    for name, entry in described.networks.items():
        if name not in names or entry.precision == "int8":
            shutil.copytree(repository / name, engines / name, dirs_exist_ok=True)
            continue
        report(f"{name}: building")
        built.append(
            build_engine(
                repository / name,
                engines / name,
                workload,
                target,
                builder,
                entry.precision,
                described.checkpoint_digest,
            )
        )
        report(built[-1].summary, result=True)
    _describe(repository, engines, described, built, workload)
    return built


def installed_builder() -> str:
    """Returns the name and version of the TensorRT that builds.

    Raises:
        EngineError: none is installed.
    """
    trt = find_tensorrt()
    if trt is None:
        raise EngineError(
            "no TensorRT is installed; `pip install tensorrt` on the GPU's machine, or "
            "`pip install '.[rtx]'` for engines of TensorRT-RTX, built on a CPU"
        )
    return f"{trt.__name__} {trt.__version__}"


def build_engine(
    source: Path,
    folder: Path,
    workload: Workload,
    target: Target,
    builder: str,
    precision: str,
    checkpoint: str,
) -> BuiltEngine:
    """Builds the engine of one network, or finds it built from the same.

    Args:
        source: the model folder with the ONNX file.
        folder: the model folder to write.
        workload: what the engine is to be good at.
        target: what it is built for.
        builder: as `installed_builder` returns it.
        precision: of the ONNX file.
        checkpoint: the digest of the checkpoint that it is of.

    Raises:
        EngineError: it cannot be built.
    """
    network = SERVED[workload.variant][source.name]
    file = source / VERSION / MODEL_FILE
    model = load_graph(file)
    fixed = widths(model, network)
    shapes = profiles(network, workload, fixed)
    made_from = _digest(file, shapes, target, builder)
    engine = _known(folder / VERSION)
    if engine is None or engine.made_from != made_from:
        engine = _build(file, folder, shapes, target, builder, precision, made_from)
    config = config_pbtxt(
        # Triton refuses an engine of which more is promised than it takes.
        replace(network.on_the_wire(precision), max_batch_size=engine.max_batch_size),
        fixed,
        warm_up_shapes(network, workload, fixed),
        TENSORRT,
        checkpoint=checkpoint,
        profiles=engine.profiles,
    )
    (folder / "config.pbtxt").write_text(config)
    return engine


def _build(
    file: Path,
    folder: Path,
    shapes: Sequence[Profile],
    target: Target,
    builder: str,
    precision: str,
    made_from: str,
) -> BuiltEngine:
    version, partial = folder / VERSION, folder / f"{VERSION}.partial"
    for path in (version, partial):
        shutil.rmtree(path, ignore_errors=True)
    partial.mkdir(parents=True)
    result = _run(
        {
            "onnx": str(file),
            "engine": str(partial / ENGINE_FILE),
            "profiles": shapes,
            # Only a GPU times kernels.
            "timing_cache": None
            if target.compute_capability
            else str(folder.parent / TIMING_CACHE),
            **asdict(target),
        }
    )
    if "error" in result:
        raise EngineError(f"{file}: {result['error']}")
    engine = BuiltEngine(
        network=folder.name,
        precision=precision,
        layers=result["layers"],
        profiles=result["profiles"],
        max_batch_size=result["max_batch_size"],
        engine_bytes=(partial / ENGINE_FILE).stat().st_size,
        activation_bytes=result["activation_bytes"],
        seconds=result["seconds"],
        peak_bytes=result["peak_bytes"],
        compute_capability=target.compute_capability,
        builder=builder,
        made_from=made_from,
    )
    (partial / FACTS).write_text(json.dumps(asdict(engine), indent=2) + "\n")
    partial.rename(version)
    return engine


def _run(request: Mapping[str, Any]) -> dict[str, Any]:
    process = subprocess.run(
        [sys.executable, "-m", "export.tensorrt.builder"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    # The builder itself also writes to standard output, before.
    *said, last = ["", *process.stdout.splitlines()]
    try:
        return json.loads(last)
    except ValueError:
        lines = [line for line in (*process.stderr.splitlines(), *said, last) if line.strip()]
        return {"error": f"exit status {process.returncode}: {lines[-1] if lines else ''}"}


def _known(version: Path) -> BuiltEngine | None:
    facts = version / FACTS
    if not facts.is_file():
        return None
    try:
        return BuiltEngine(**json.loads(facts.read_bytes()))
    except (ValueError, TypeError):
        # Half written, or by an older builder, which knew less.
        return None


def _digest(file: Path, shapes: Sequence[Profile], target: Target, builder: str) -> str:
    digest = hashlib.sha256(repr((shapes, target, builder)).encode())
    # Graph and weights; what is noted beside them changes with the exporter.
    for path in sorted(file.parent.glob(f"{MODEL_FILE}*")):
        with path.open("rb") as weights:
            while block := weights.read(DIGEST_BYTES):
                digest.update(block)
    return digest.hexdigest()[:16]


def _describe(
    repository: Path,
    engines: Path,
    described: Manifest,
    built: Sequence[BuiltEngine],
    workload: Workload,
) -> None:
    """Writes the manifest. Without it nobody serves what Triton's own TensorRT could not load."""
    for name in (manifest.TOKENIZER, styles.FILE):
        if (repository / name).is_file():
            shutil.copyfile(repository / name, engines / name)
    if any(not engine.builder.startswith("tensorrt ") for engine in built):
        return
    names = {engine.network for engine in built}
    networks = {
        name: entry.model_copy(update={"backend": TENSORRT}) if name in names else entry
        for name, entry in described.networks.items()
    }
    tools = dict(described.tool_versions)
    if built:
        tools |= dict([built[0].builder.split(" ")])
    if container := container_here():
        tools[CONTAINER] = container
    content = described.model_copy(
        update={
            "networks": networks,
            "tool_versions": tools,
            "max_window_frames": max(workload.windows),
        }
    )
    (engines / manifest.FILE).write_text(content.model_dump_json(indent=2) + "\n")
