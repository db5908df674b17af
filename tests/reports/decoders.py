"""What the demo's light decoder costs and saves, beside the VAE's own.

python -m tests.reports.decoders CHECKPOINT REPOSITORY
"""

import argparse
import asyncio
import resource
import tempfile
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from export.checkpoint.layout import Checkpoint
from export.demo.light_decoder import FRAMES
from export.demo.mouths import motion
from export.demo.recipe import LIGHT_DECODER
from export.networks.vae import LightDecoder, VaeChoice, vae_decoder, vae_encoder
from export.onnx.trace import write_onnx
from export.repository.model_config import MODEL_FILE
from server.animation.windows import windows
from server.audio.clock import FRAME_RATE
from server.triton.contract import latent_frames
from tests.reports.lip_sync import GOALS, average, measured, row
from tests.reports.markdown import table, write_measured
from tests.support.onnx_engine import OnnxEngine
from tests.support.talking import SPEC, film, held_out_clip

CLIPS, SECONDS = 4, 3.0
PICTURES = 24
ROUNDS = 5
OWN = "the VAE's own"
WAYS: Mapping[str, tuple[bool, bool]] = {
    OWN: (False, False),
    f"{OWN}, whole": (False, True),
    "taew2_1": (True, False),
    "taew2_1, whole": (True, True),
}
"""Whether it is light, and whether without a loop."""


def exported(checkpoint: Checkpoint, folder: Path, repository: Path) -> dict[str, Path]:
    """Returns repositories of the decoders; they differ in nothing else."""
    made: dict[str, Path] = {}
    for name, (light, whole) in WAYS.items():
        target = made[name] = folder / name
        target.mkdir()
        for part in repository.iterdir():
            if part.name != "vae_decoder":
                (target / part.name).symlink_to(part.resolve())
        decoder = LightDecoder("taew2_1", checkpoint.root / LIGHT_DECODER) if light else None
        version = target / "vae_decoder" / "1"
        version.mkdir(parents=True)
        how = VaeChoice(decoder, whole)
        write_onnx(vae_decoder(checkpoint, "fp32", how), version / MODEL_FILE)
    return made


def seconds(repository: Path, frames: int) -> float:
    """Returns the CPU time of decoding a window on one thread, the least of some rounds."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(repository / "vae_decoder" / "1" / MODEL_FILE, options)
    latents = np.zeros((1, 16, latent_frames(frames), 16, 16), np.float32)
    spent: list[float] = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        session.run(["video"], {"latents": latents})
        spent.append(resource.getrusage(resource.RUSAGE_SELF).ru_utime - before)
    return min(spent)


def speed_table(made: Mapping[str, Path]) -> str:
    """Times the windows of a live stream."""
    lengths = [window.frames for window, _ in zip(windows(SPEC), range(3), strict=False)]
    rows: list[list[object]] = []
    for name, repository in made.items():
        spent = [seconds(repository, frames) for frames in lengths]
        new = (lengths[-1] - SPEC.overlap) / FRAME_RATE
        rows.append([name, *(f"{1000 * each:.0f}" for each in spent), f"{spent[-1] / new:.2f}"])
    shown = [f"{frames} frames, ms" for frames in lengths]
    return table(["decoder", *shown, "CPU seconds for a second shown"], rows)


@torch.inference_mode()
def _decoded(engine: OnnxEngine, latents: Any) -> Any:
    frames: Any = engine._session("vae_decoder").run(["frames"], {"latents": latents})[0]
    return frames[0]


def picture_table(checkpoint: Checkpoint, made: Mapping[str, Path]) -> str:
    """Compares decoders with drawn films, and with each other, on the films' own latents."""
    engines = {name: OnnxEngine(made[name]) for name in (OWN, "taew2_1")}
    encoder = vae_encoder(checkpoint).module
    figures: list[list[float]] = []
    for index in range(PICTURES):
        clip = held_out_clip(index, 2.0)
        moved = motion(clip.samples)
        span = slice(-FRAMES, None)
        drawn = clip.face.draw(moved.openings[span].tolist(), moved.widths[span].tolist())
        latents = encoder(torch.from_numpy(drawn)[None], torch.zeros(1, 0)).numpy()
        own, light = (_decoded(engine, latents) for engine in engines.values())
        figures.append([psnr(own, drawn), psnr(light, drawn), psnr(light, own)])
    own, light, between = np.mean(figures, axis=0)
    return table(
        ["decoder", "against the drawing, dB", "against the VAE's own, dB"],
        [[OWN, f"{own:.1f}", ""], ["taew2_1", f"{light:.1f}", f"{between:.1f}"]],
    )


def psnr(seen: np.ndarray, true: np.ndarray) -> float:
    """Returns the decibels of pictures of bytes."""
    error = seen.astype(np.float64) - true.astype(np.float64)
    return float(-20 * np.log10(np.sqrt(np.square(error).mean()) / 255))


async def talking_table(made: Mapping[str, Path]) -> str:
    """Measures held-out clips, as the page about lip sync does."""
    rows: list[list[object]] = []
    for name in (OWN, "taew2_1"):
        engine = OnnxEngine(made[name])
        found = []
        for index in range(CLIPS):
            clip = held_out_clip(index, SECONDS)
            frames = await film(engine, made[name], clip.picture, clip.samples)
            found.append(measured(clip, frames))
        mean = average(found)
        rows.append(row(name, type(mean)(*astuple(mean))))
    return table(["decoder", *GOALS], rows)


HOW = f"""The demo's own latents: 128x128, the checkpoint's encoder and denoiser, and either the
VAE's decoder or `export/demo/checkpoint/{LIGHT_DECODER}`, a narrow TAEHV that `python -m export
train-demo` trains for them last. People and voices are of no training. It is exported by
`--decoder taew2_1={LIGHT_DECODER}`; *whole* is with `--whole-vae`."""


async def main(root: Path, repository: Path) -> None:
    """Measures and writes the page."""
    checkpoint = Checkpoint(root)
    with tempfile.TemporaryDirectory() as folder:
        made = exported(checkpoint, Path(folder), repository)
        write_measured(
            "decoders.md",
            "decoders",
            "What a light decoder costs and saves",
            HOW,
            "## Time\n\nCPU time of one call on one thread, the least of "
            f"{ROUNDS}; other work used the machine.",
            speed_table(made),
            f"## Pictures\n\nPSNR of {PICTURES} films of {FRAMES} frames, on their own latents.",
            picture_table(checkpoint, made),
            f"## Talking\n\n{CLIPS} clips of {SECONDS:g} s, as in [lip-sync.md](lip-sync.md), each "
            "window going on from frames that the decoder made.",
            await talking_table(made),
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="the demo's")
    parser.add_argument("repository", type=Path, help="its export")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.checkpoint, arguments.repository))
