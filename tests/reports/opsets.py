"""What newer ONNX opsets change for the denoiser, and which ONNX Runtime loads which of them.

python -m tests.reports.opsets FOLDER
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import onnx
import torch
from onnx import TensorProto, helper

from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import PUBLIC, TINY, make_tiny
from export.networks.catalogue import BUILDS, networks
from export.onnx.compare import ExportDiffersError
from export.onnx.opsets import OLDEST, SINGLE_OPERATORS, Opset
from export.onnx.trace import write_onnx
from export.planning.containers import CONTAINERS
from export.precision.fp8 import layers_in_fp8
from export.precision.policy import Precision
from export.repository.exporter import export_network
from export.repository.model_config import MODEL_FILE
from export.tensorrt.engines import EngineError, Target, build_engine, installed_builder
from export.tensorrt.profiles import Workload
from tests.reports.markdown import table, write_measured

LAYERS = 2
"""Blocks of the denoiser: what it runs in does not grow with them, what it takes to build does."""
WIDE = replace(
    PUBLIC,
    denoiser={**PUBLIC.denoiser, "num_layers": LAYERS},
    audio_encoder={**TINY.audio_encoder, "hidden_size": 768, "num_attention_heads": 12},
    others={
        **TINY.others,
        "image_encoder_kwargs": {"vision_dim": 1280, "vision_heads": 16, "vision_layers": 1},
    },
)
SIDE, WINDOWS = 512, (33, 17, 5)
SINGLE = ("Attention", "RotaryEmbedding", "RMSNormalization")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "fp8")
CAPABILITIES = ("8.9", "12.0")
LARGEST_INPUT = 6.0
"""Of every layer, for fp8: what its scales are is of no matter to the builder."""
LOADS = """
import json, sys, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
loaded = []
for file in sys.argv[1:]:
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        inputs = session.get_inputs()
        if len(inputs) == 1:
            (given,) = inputs
            shape = [size if isinstance(size, int) else 32 for size in given.shape]
            session.run(None, {given.name: numpy.zeros(shape, TYPES[given.type])})
    except Exception:
        continue
    loaded.append(file)
print(json.dumps(loaded))
"""


def exported(
    checkpoint: Checkpoint, folder: Path, precision: Precision, opset: Opset
) -> tuple[onnx.GraphProto, str]:
    """Exports the denoiser; returns its graph and how far it is from torch."""
    scales: dict[str, Any] = {}
    if precision == "fp8":
        layers = layers_in_fp8(networks(checkpoint)["denoiser"](checkpoint).module)
        used = [name for name in layers if "q_audio" not in name]
        scales["largest_inputs"] = dict.fromkeys(used, LARGEST_INPUT)
    build = BUILDS[checkpoint.variant]["denoiser"]
    exportable = build(checkpoint, precision, opset=opset, **scales)
    said: list[str] = []
    try:
        export_network(
            exportable, folder, lambda stage, *, result=False: said.append(stage), precision
        )
    except ExportDiffersError as error:
        return onnx.GraphProto(), str(error)
    graph = onnx.load(folder / "1" / MODEL_FILE, load_external_data=False).graph
    return graph, re.sub(r"^.*?B, ", "", said[-1])


def rows(checkpoint: Checkpoint, folder: Path) -> Iterator[Sequence[object]]:
    """Yields what each precision and opset comes to, for each compute capability."""
    workload = Workload(checkpoint.variant, [(SIDE, SIDE)], WINDOWS)
    for precision in PRECISIONS:
        for opset in (OLDEST, SINGLE_OPERATORS):
            place = folder / f"{precision}-{opset}" / "denoiser"
            graph, verdict = exported(checkpoint, place, precision, opset)
            found = Counter(node.op_type for node in graph.node)
            single = ", ".join(f"{found[name]} {name}" for name in SINGLE if found[name])
            facts = (precision, opset, len(graph.node), single or "none", verdict)
            for capability in CAPABILITIES:
                engine = folder / f"{precision}-{opset}-{capability}" / "denoiser"
                yield (*facts, capability, *built(place, engine, workload, precision, capability))


def built(
    source: Path, folder: Path, workload: Workload, precision: Precision, capability: str
) -> tuple[object, object, object]:
    """Returns layers, megabytes to run in and megabytes of file, or that it cannot be built."""
    try:
        engine = build_engine(
            source, folder, workload, Target(capability), installed_builder(), precision, "wide"
        )
    except EngineError as error:
        return ("not built", re.sub(r"^.*?: ", "", str(error))[:80], "")
    return (
        engine.layers,
        f"{engine.activation_bytes / 1e6:,.0f}",
        f"{engine.engine_bytes / 1e6:,.0f}",
    )


_TRIED: tuple[tuple[Precision, str], ...] = (
    *(("fp32", "denoiser"), ("fp16", "denoiser"), ("int8", "image_encoder")),
)


def loaded_by(folder: Path, checkpoint: Checkpoint) -> Iterator[Sequence[object]]:
    """Yields which opsets and networks each ONNX Runtime of a container loads, from PyPI."""
    files = {f"opset {opset}": _smallest(folder, opset) for opset in get_args(Opset)}
    for precision, name in _TRIED:
        files[f"{name}, {precision}"] = folder / f"{name}-{precision}.onnx"
        exportable = networks(checkpoint, precision)[name](checkpoint)
        write_onnx(exportable, files[f"{name}, {precision}"], precision)
    yield ["ONNX Runtime", *files]
    for version in sorted({runtime for _, runtime in CONTAINERS.values()}):
        place = folder / f"onnxruntime-{version}"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        subprocess.run([*pip, str(place), f"onnxruntime=={version}"], check=True)
        process = subprocess.run(
            [sys.executable, "-c", LOADS, *map(str, files.values())],
            env={**os.environ, "PYTHONPATH": str(place)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        loaded = json.loads(process.stdout)
        yield [version, *("yes" if str(file) in loaded else "no" for file in files.values())]


def _smallest(folder: Path, opset: int) -> Path:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "smallest", [x], [y])
    opsets = [helper.make_opsetid("", opset)]
    file = folder / f"opset-{opset}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), file)
    return file


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for what is made on the way, 3 GB")
    folder: Path = parser.parse_args().folder
    torch.set_num_threads(1)
    for name, sizes in (("tiny", TINY), ("wide", WIDE)):
        if not (folder / name / "config.yaml").is_file():
            make_tiny(folder / name, seed=0, sizes=sizes)
    found: list[Sequence[object]] = []
    for row in rows(Checkpoint(folder / "wide"), folder):
        print(row, file=sys.stderr, flush=True)
        found.append(row)
    header, *runtimes = loaded_by(folder, Checkpoint(folder / "tiny"))
    write_measured(
        "opsets.md",
        "opsets",
        "ONNX opsets",
        INTRO,
        "## The denoiser",
        f"Public widths, {LAYERS} of its 30 blocks, random weights; pictures of {SIDE}x{SIDE}, "
        f"windows of {', '.join(map(str, sorted(WINDOWS)))} frames; {installed_builder()}.",
        table(HEADER, found),
        DECIDED,
        "## Who loads what",
        RUNTIMES,
        table([str(cell) for cell in header], runtimes),
    )


HEADER = (
    *("precision", "opset", "nodes", "single operators", "ONNX Runtime", "compute capability"),
    *("layers", "runs in, MB", "MB"),
)
INTRO = """The export writes 20, the oldest opset that any container of
[tensorrt.md](tensorrt.md#tritons-containers) needs, and newer ones where they bring something:
22 for a VAE in bf16, whose convolutions ONNX Runtime's CUDA provider has from there on, and 23 for
the denoiser in fp16 and fp8, which has attention, rotary embedding and root-mean-square norms as
single operators. `--opset` holds it back, for older containers; `--container` chooses by one."""
DECIDED = """Each graph is compared with its torch module, within the export's own tolerance, and
built for TensorRT-RTX ahead of time; none was run on a GPU. `Runs in` is the activation memory that
the builder reports. So opset 23 is what fp16 and fp8 get: less memory in fp16, and in fp8 less for
8.9, and half a per cent more for 12.0. The builder's process ends without a word where it is asked
for the single operators in fp32 and bf16, which stay at 20."""
RUNTIMES = """The wheels of PyPI for a CPU, in the versions that Triton's containers carry: whether
they load a graph of an opset, and networks of a tiny checkpoint as the export writes them; what has
a single input was run, too. int8 is ONNX Runtime's own operator, `MatMulNBits` of 8 bits with
`accuracy_level` 1 at every node, so that no session rounds the other factor: of DequantizeLinear
and MatMul it makes that operator by itself from 1.27 on, with the level that rounds. On a GPU
nothing was tried; ONNX Runtime's own list of kernels has Attention and RotaryEmbedding for CUDA
from opset 23 on, in 16 bits as well. Which of its versions has them first was not found out: where
one lacks them, `--opset 20` does without."""

if __name__ == "__main__":
    main()
