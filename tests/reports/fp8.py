"""What fp8 costs with a scale for each output of a weight, and with one for all of it.

python -m tests.reports.fp8 RANDOM_CHECKPOINT REPOSITORY DEMO_CHECKPOINT REPOSITORY
"""

import argparse
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args
from unittest import mock

import torch

from export.checkpoint.layout import Checkpoint
from export.networks.catalogue import networks
from export.onnx.verification import STEPS, verify
from export.precision import calibration
from export.precision.calibration import largest_inputs
from export.precision.policy import Fp8Scale
from export.repository.exporter import VERSION, export_network
from export.tensorrt.engines import EngineError, Target, build_engine, installed_builder
from export.tensorrt.profiles import Workload
from server.manifest import FILE, NetworkEntry, read_manifest
from tests.reports.markdown import table, write_measured
from tests.reports.precision import CALIBRATION, SHAPE

CAPABILITIES = ("8.6", "8.9", "12.0")
WINDOWS = (33, 17, 5)


def with_fp8(
    checkpoint: Checkpoint,
    repository: Path,
    folder: Path,
    measured: Mapping[str, float],
    scale: Fp8Scale,
) -> None:
    """Copies a repository in 32 bits and exports its denoiser in fp8."""
    shutil.copytree(repository, folder)
    shutil.rmtree(folder / "denoiser" / VERSION)
    build = networks(checkpoint, "fp8")["denoiser"]
    exportable = build(checkpoint, largest_inputs=measured, fp8_scale=scale)
    export_network(exportable, folder / "denoiser", lambda *_, **__: None, "fp8")
    described = read_manifest(folder)
    entry = NetworkEntry(backend="onnxruntime", precision="fp8")
    changed = described.model_copy(update={"networks": {**described.networks, "denoiser": entry}})
    (folder / FILE).write_text(changed.model_dump_json())


def errors(checkpoint: Checkpoint, folder: Path) -> list[str]:
    """Returns the relative errors of velocity and residual, and the PSNR of frames."""
    result = verify(folder, checkpoint, SHAPE, lambda stage: None, ["denoiser", "vae_decoder"])
    of_denoiser = [e.relative for e in result.errors if e.network == "denoiser"]
    return [*(f"{error:.1e}" for error in of_denoiser), f"{result.psnr_db or math.nan:.1f}"]


def builds(checkpoint: Checkpoint, folder: Path, engines: Path) -> Iterator[str]:
    """Yields what TensorRT-RTX makes of the denoiser for each compute capability."""
    workload = Workload(checkpoint.variant, [(128, 128)], WINDOWS)
    for capability in CAPABILITIES:
        try:
            engine = build_engine(
                folder / "denoiser",
                engines / capability / "denoiser",
                workload,
                Target(capability),
                installed_builder(),
                "fp8",
                "fp8",
            )
        except EngineError as error:
            yield "refused" if "fp8" in str(error).lower() else str(error)[-60:]
        else:
            megabytes = engine.engine_bytes / 1e6, engine.activation_bytes / 1e6
            yield "{:.1f} MB, runs in {:.0f}".format(*megabytes)


def grown(checkpoint: Checkpoint, measured: Mapping[str, float]) -> str:
    """Returns what the stretches after the loudest have added."""
    with mock.patch.object(calibration, "STRETCHES", 1):
        loudest = largest_inputs(checkpoint, CALIBRATION)
    factors = [measured[name] / loudest[name] for name in measured]
    more = sum(factor > 1 for factor in factors)
    return f"{more} of {len(factors)} layers, by {max(factors) - 1:.0%} at most"


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("random", "random_repository", "demo", "demo_repository"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Sequence[object]] = []
    added: list[str] = []
    for name, root, repository in (
        ("tiny, random", given.random, given.random_repository),
        ("the demo's, trained", given.demo, given.demo_repository),
    ):
        checkpoint = Checkpoint(root)
        measured = largest_inputs(checkpoint, CALIBRATION)
        added.append(f"{name}: {grown(checkpoint, measured)}.")
        for scale in get_args(Fp8Scale):
            with tempfile.TemporaryDirectory() as made:
                folder = Path(made, "onnx")
                with_fp8(checkpoint, repository, folder, measured, scale)
                built = builds(checkpoint, folder, Path(made, "engines"))
                rows.append((name, scale, *errors(checkpoint, folder), *built))
            print(rows[-1], flush=True)
    frames = f"PSNR after {STEPS} steps, dB"
    header = ("weights", "a scale for each", "velocity", "residual", frames, *CAPABILITIES)
    size = "x".join(map(str, CALIBRATION.size))
    write_measured(
        "fp8.md",
        "fp8",
        "8-bit floats",
        INTRO,
        table(header, rows),
        MEASURED.format(size=size, builder=installed_builder()),
        "## Calibration",
        CALIBRATED,
        "\n".join(f"- {line}" for line in added),
        "## What NVIDIA's documents say",
        DOCUMENTS,
    )


INTRO = """`--precision fp8` rounds both factors of the products in the denoiser's blocks to E4M3;
attention stays in 16 bits. What a layer is given has one scale. Its weight has one for each output
channel, or with `--fp8-scale tensor` one in all."""
MEASURED = """Errors are those of ONNX Runtime on a CPU against torch in 32 bits, as a part of the
norm; all else is in 32 bits. The last columns are compute capabilities: 8.6 is Ampere, which has no
fp8, 8.9 Ada, 12.0 Blackwell; {builder} builds ahead of time, and none of it was run on a GPU.
Pictures have {size}. For 8.9 the builder makes a larger engine of scales of channels than of
scales of tensors, for 12.0 the same one nearly: on Ada it treats the two differently, and what that
means for speed is to be measured there."""
CALIBRATED = f"""The scales of what the layers are given are the largest values seen while up to
{calibration.STRETCHES} stretches of the speech are animated, the loudest that do not overlap, each
as a first window of {calibration.FRAMES} frames, in the size that is offered first. What the
stretches after the loudest have added to the largest values:"""
DOCUMENTS = """\
- The release notes of TensorRT 10.6.0 add "per-channel scaling for FP8 matrix multiplications
  on Hopper GPUs", and name fused fp8 attention for Ada, for sequences of up to 3072 and heads
  of up to 64. The denoiser's sequences are longer at 512x512, and its heads are 128 wide.
- The support matrix of NVIDIA's Model Optimizer has fp8 with a scale for each tensor, of
  weights and of what they are multiplied with, for "Ada and later"; for ONNX files on Windows
  it lists scales of channels for weights and of tensors for the rest, for "Ada and later" too.
- Transformer Engine's support matrix has fp8 with a scale for each tensor from compute
  capability 8.9 on, and scales of blocks from Hopper (9.0) on.
- TensorRT-RTX supports fp8 for matrix multiplications only, on compute capability 8.9 and
  later.
- NVIDIA/TensorRT-Model-Connect#1386 reports of weights with scales of channels, beside inputs
  whose scales are found per token as they come, that TensorRT multiplied them in 16 bits.
- A quantising layer of TensorRT takes a scalar (per tensor) or a vector along an axis (per
  channel); the networks here are strongly typed, so that only what is spelled out is in 8 bits.

So scales of channels are documented for Hopper; of Ada TensorRT's notes do not say it. Scales of
tensors are what every document covers: `--fp8-scale tensor`. Which one is faster was not measured:
no GPU was at hand."""

if __name__ == "__main__":
    main()
