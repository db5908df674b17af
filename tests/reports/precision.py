"""What narrow weights cost, and what they would cost if everything was narrow.

python -m tests.reports.precision CHECKPOINT_DIR [--public CHECKPOINT_DIR REPOSITORY]
"""

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from export.checkpoint.layout import Checkpoint
from export.networks.catalogue import networks
from export.networks.denoiser import denoiser_config
from export.networks.exportable import Shape
from export.onnx.verification import SEED, STEPS, Verification, verify
from export.precision.calibration import Calibration
from export.precision.narrowing import DTYPES
from export.precision.policy import Precision
from export.repository.exporter import export_repository
from tests.reports.markdown import DOCS, table, write_measured

SHAPE = Shape(batch=1, frames=3, height=16, width=16)
PUBLIC_SHAPE = Shape(batch=1, frames=2, height=8, width=8)
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8", "fp8")
ABLATED: tuple[Precision, ...] = ("fp16", "bf16")
CALIBRATION = Calibration(
    DOCS / "media" / "portrait.png", DOCS / "media" / "speech.wav", (128, 128)
)


class Rounding(TorchDispatchMode):
    """Rounds every result to 16 bits, norms, softmax, modulation and residual stream included."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return tree_map_only(Tensor, self._rounded, func(*args, **(kwargs or {})))

    def _rounded(self, result: Tensor) -> Tensor:
        if result.dtype != torch.float32:
            return result
        return result.to(self._dtype).to(torch.float32)


def error_with_everything_narrow(checkpoint: Checkpoint, name: str, dtype: torch.dtype) -> float:
    """Returns the relative error of a network's last output."""
    exportable = networks(checkpoint)[name](checkpoint)
    torch.manual_seed(SEED)
    inputs = exportable.inputs(SHAPE).values()
    module = exportable.module
    with torch.no_grad():
        exact = last(module(*inputs)).double()
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.dtype == torch.float32:
                tensor.copy_(tensor.to(dtype))
        with Rounding(dtype):
            narrow = last(module(*inputs))
    return float((narrow.double() - exact).norm() / exact.norm())


def last(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Returns the last output, which is a float one."""
    return outputs if isinstance(outputs, Tensor) else outputs[-1]


def verified(checkpoint: Checkpoint, precision: Precision) -> Verification:
    """Exports a checkpoint and compares what comes of it."""
    with tempfile.TemporaryDirectory() as folder:
        export_repository(
            checkpoint,
            Path(folder),
            sizes=[(128, 128)],
            report=lambda *_, **__: None,
            precision=precision,
            calibration=CALIBRATION if precision == "fp8" else None,
        )
        return verify(Path(folder), checkpoint, SHAPE, lambda stage: None)


def errors_table(results: Mapping[str, Verification]) -> str:
    """Returns the relative error of every output, a column for each result."""
    outputs = [(error.network, error.output) for error in next(iter(results.values())).errors]
    cells = {
        (key, error.network, error.output): f"{error.relative:.0e} ({error.precision})"
        for key, result in results.items()
        for error in result.errors
    }
    rows: list[Sequence[object]] = [
        [f"{network}: {output}", *(cells[key, network, output] for key in results)]
        for network, output in outputs
    ]
    frames = [f"{result.psnr_db or math.nan:.1f}" for result in results.values()]
    rows.append([f"PSNR after {STEPS} steps, dB", *frames])
    return table(["error", *results], rows)


def ablation_table(checkpoint: Checkpoint, results: Mapping[str, Verification]) -> str:
    """Returns the errors of the networks as they are exported, and with everything narrow."""
    rows: list[list[object]] = []
    for name in ("image_encoder", "text_encoder", "denoiser", "vae_encoder", "vae_decoder"):
        row: list[object] = [name]
        for precision in ABLATED:
            (*_, ours) = (e.relative for e in results[precision].errors if e.network == name)
            narrow = error_with_everything_narrow(checkpoint, name, DTYPES[precision])
            row += [f"{ours:.0e}", f"{narrow:.0e}"]
        rows.append(row)
    header = [part for precision in ABLATED for part in (precision, f"everything {precision}")]
    return table(["error", *header], rows)


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--public", type=Path, nargs=2, metavar=("CHECKPOINT_DIR", "REPOSITORY"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint = Checkpoint(options.checkpoint)
    results = {precision: verified(checkpoint, precision) for precision in PRECISIONS}
    parts = [
        INTRO,
        "## Tiny, random weights",
        errors_table(results),
        "## Why not everything",
        ABLATION,
        ablation_table(checkpoint, results),
    ]
    if options.public:
        folder, repository = options.public
        public = Checkpoint(folder)
        result = verify(repository, public, PUBLIC_SHAPE, lambda stage: print(stage, flush=True))
        sizes = denoiser_config(public)
        parts += [
            "## The public sizes, random weights",
            f"The denoiser has {sizes.num_layers} layers and is {sizes.dim} wide.",
            OF_TEXT,
            errors_table({"as exported": result}),
        ]
    write_measured("precision.md", "precision", "What narrow weights cost", *parts)


INTRO = f"""Each network is run on the same random inputs as an ONNX file and as a torch module in
float32 with the checkpoint's weights: the error is the norm of the difference, as a part of the
norm of the output. Frames come of {STEPS} steps of the denoiser and the decoder, each taking what
the one before it made. In bf16, which ONNX Runtime does not compute on a CPU, the torch module in
bf16 stands in. Weights are random: trained ones have outliers, which cost more, in int8 and fp8
above all. `python -m export verify` makes this table for a checkpoint of yours."""
OF_TEXT = """The error of text_encoder says nothing here: umT5 does not scale its attention, so with
random weights of this width nearly all of it goes to one token, and what is rounded grows from
block to block until nothing is left to compare. Trained weights are needed to tell."""
ABLATION = """What is exported keeps norms, softmax, modulation and the stream that layers add to
in 32 bits. Beside it, the error if every result of every operation was rounded to 16 bits, too."""

if __name__ == "__main__":
    main()
