"""What exporting each network costs: seconds, memory, bytes, nodes.

python -m tests.reports.exports CHECKPOINT_DIR REPOSITORY
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import onnx
import torch

from export.checkpoint.layout import Checkpoint
from export.networks.catalogue import networks
from export.networks.denoiser import denoiser_config
from export.precision.policy import Precision, precision_of
from export.repository.exporter import MODEL_FILE, VERSION, export_network
from export.repository.origin import Origin, exporter_digest
from export.tensorrt.builder import peak_bytes
from tests.reports.markdown import table, write_measured

INTRO = """Each network is exported in a process of its own, on one thread, from random weights
of the sizes stated; peak memory is what the process held itself, files mapped into memory included
once they were read. Seconds are wall time, and other work used the machine. Every file is compared
with its torch module but those in bf16, which ONNX Runtime does not compute on a CPU."""


def export_one(checkpoint: Checkpoint, repository: Path, name: str, precision: Precision) -> None:
    """Exports one network and prints what it cost."""
    torch.set_num_threads(1)
    begun = time.monotonic()
    said: list[str] = []
    exportable = networks(checkpoint, precision)[name](checkpoint)
    used = precision_of(name, precision)
    export_network(
        exportable,
        repository / name,
        lambda stage, *, result=False: said.append(stage),
        used,
        origin=Origin(
            checkpoint.digest(),
            used,
            riflex=None,
            halves=False,
            calibration=None,
            exporter=exporter_digest(checkpoint.variant, name),
            opset=exportable.opset,
        ),
    )
    folder = repository / name / VERSION
    model = onnx.load(folder / MODEL_FILE, load_external_data=False)
    facts = {
        "precision": used,
        "seconds": time.monotonic() - begun,
        "peak_bytes": peak_bytes(),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "nodes": count_nodes(model.graph),
        "verdict": re.sub(r"^.*?B, ", "", said[-1]),
    }
    print(json.dumps(facts))


def count_nodes(graph: onnx.GraphProto) -> int:
    """Returns the nodes of a graph and of the loops in it."""
    inner = [attribute.g for node in graph.node for attribute in node.attribute]
    return len(graph.node) + sum(map(count_nodes, inner))


def measure(checkpoint: Path, repository: Path, name: str, precision: str) -> dict[str, Any]:
    """Exports one network in a process of its own."""
    command = [sys.executable, "-m", "tests.reports.exports", str(checkpoint), str(repository)]
    command += ["--one", name, "--precision", precision]
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(process.stdout.splitlines()[-1])


def main() -> None:
    """Exports every network and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--precision", default="fp16")
    parser.add_argument("--text-precision", default="bf16")
    parser.add_argument("--one")
    options = parser.parse_args()
    checkpoint = Checkpoint(options.checkpoint)
    if options.one:
        export_one(checkpoint, options.repository, options.one, options.precision)
        return
    rows: list[tuple[object, ...]] = []
    for name in networks(checkpoint):
        precision = options.text_precision if name == "text_encoder" else options.precision
        facts = measure(options.checkpoint, options.repository, name, precision)
        rows.append(
            (
                name,
                facts["precision"],
                f"{facts['seconds']:.0f}",
                f"{facts['peak_bytes'] / 1e9:.1f}",
                f"{facts['bytes'] / 1e6:,.0f}",
                facts["nodes"],
                facts["verdict"],
            )
        )
        print(rows[-1], file=sys.stderr, flush=True)
    sizes = denoiser_config(checkpoint)
    write_measured(
        "exports.md",
        "exports",
        "What exporting costs",
        INTRO,
        f"The denoiser: {sizes.variant}, {sizes.num_layers} layers, {sizes.dim} wide.",
        table(("network", "precision", "s", "peak, GB", "MB", "nodes", "ONNX Runtime"), rows),
    )


if __name__ == "__main__":
    main()
