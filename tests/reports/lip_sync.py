"""Whether the demo talks: figures of held-out faces and voices, and pictures of every setting.

python -m tests.reports.lip_sync REPOSITORY
"""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from export.demo.mouths import motion
from server.animation.windows import WindowSpec
from server.audio.clock import FRAME_RATE, MODEL_SAMPLES_PER_FRAME
from server.manifest import read_manifest
from server.pictures.portrait import cropped
from server.sessions.jobs import SAMPLERS, GenerationSettings
from tests.reports.markdown import DOCS, table, write_measured
from tests.support.lip_sync import LipSync, lip_sync
from tests.support.onnx_engine import OnnxEngine
from tests.support.talking import (
    FLASH,
    SIDE,
    SPEC,
    SwappedBranches,
    TalkingClip,
    film,
    held_out_clip,
    seams,
)

MEDIA = DOCS / "media"
CLIPS, SECONDS = 12, 5.0
STEPS, GUIDANCE = (6, 8, 12), (1.0, 2.0, 3.0, 4.0)
GRID_CLIP, GRID_SECONDS = 0, 3.0
GRID_FRAMES = 5
SHEET_CLIPS, SHEET_FRAMES = 6, 12
LABEL_PX = 14
GIF_SIDE, GIF_EVERY, GIF_COLORS = 192, 2, 96
SHIFT_FRAMES = 5
GOALS: dict[str, str] = {
    "correlation": ">= 0.8",
    "lag, frames": "-1 to 1",
    "silence / speech": "<= 15 %",
    "outside, dB": ">= 28",
    "flicker, levels": "",
    "seam jump": "<= 1.5",
}


def row(name: object, found: LipSync) -> list[object]:
    """Returns a line of a table of figures."""
    return [
        name,
        f"{found.correlation:.2f}",
        found.lag_frames,
        f"{100 * found.silence_share:.0f} %",
        f"{found.psnr_db:.1f}",
        f"{found.flicker:.2f}",
        f"{found.seam_jump:.2f}",
    ]


def measured(clip: TalkingClip, frames: NDArray[np.uint8], spec: WindowSpec = SPEC) -> LipSync:
    """Measures the frames of a clip, cut so, against its own sound."""
    return lip_sync(clip.face, clip.samples, frames, seams(len(frames), spec), clip.picture)


def average(found: Sequence[LipSync]) -> LipSync:
    """Returns the mean of every figure."""
    means = {
        field.name: float(np.mean([getattr(each, field.name) for each in found]))
        for field in fields(LipSync)
    }
    return LipSync(**means)  # pyright: ignore[reportArgumentType]


async def clips_table(engine: OnnxEngine, repository: Path) -> str:
    """Measures the held-out clips, and keeps a sheet of some of them."""
    found: list[LipSync] = []
    strips: list[NDArray[np.uint8]] = []
    for index in range(CLIPS):
        clip = held_out_clip(index, SECONDS)
        frames = await film(engine, repository, clip.picture, clip.samples)
        found.append(measured(clip, frames))
        if index < SHEET_CLIPS:
            strips.append(strip(clip, frames))
    Image.fromarray(np.concatenate(strips)).save(MEDIA / "talking.jpg", quality=92)
    mean = average(found)
    rows = [row(index, each) for index, each in enumerate(found)]
    rows.append(row("**mean**", replace(mean, lag_frames=round(mean.lag_frames))))
    rows.append(["goal", *GOALS.values()])
    return table(["clip", *GOALS], rows)


def strip(clip: TalkingClip, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the portrait and frames from closed mouths to open ones, side by side."""
    wanted = np.linspace(0, len(frames) - 1, SHEET_FRAMES + 1).astype(int)[1:]
    return np.concatenate([clip.picture, *frames[wanted]], axis=1)


async def faults_table(engine: OnnxEngine, repository: Path) -> str:
    """Measures films that are wrong on purpose."""
    clip, other = (held_out_clip(index, SECONDS) for index in (0, 1))
    late = np.pad(clip.samples, (SHIFT_FRAMES * MODEL_SAMPLES_PER_FRAME, 0))[: len(clip.samples)]
    films = {
        "none": await film(engine, repository, clip.picture, clip.samples),
        f"audio {SHIFT_FRAMES} frames late": await film(engine, repository, clip.picture, late),
        "another clip's audio": await film(engine, repository, clip.picture, other.samples),
        "guidance branches swapped": await film(
            SwappedBranches(engine), repository, clip.picture, clip.samples
        ),
        "overlap not told": await film(
            engine, repository, clip.picture, clip.samples, forgetful=True
        ),
    }
    return table(
        ["fault", *GOALS], [row(name, measured(clip, made)) for name, made in films.items()]
    )


async def settings_table(engine: OnnxEngine, repository: Path) -> str:
    """Measures steps, guidance and samplers, and keeps a picture of each."""
    clip = held_out_clip(GRID_CLIP, GRID_SECONDS)
    wanted = np.linspace(0, 1, GRID_FRAMES)
    true = motion(clip.samples).openings[: clip.frames]
    shown = [int(np.abs(true - opening).argmin()) for opening in wanted]
    rows: list[list[object]] = []
    lines: list[Image.Image] = []
    for name, settings in every_setting().items():
        frames = await film(engine, repository, clip.picture, clip.samples, settings=settings)
        rows.append(row(name, measured(clip, frames)))
        lines.append(labelled(name, np.concatenate(frames[shown], axis=1)))
    sheet = np.concatenate([np.asarray(line) for line in lines])
    half = -(-len(lines) // 2) * lines[0].height
    columns = (sheet[:half], np.pad(sheet[half:], ((0, 2 * half - len(sheet)), (0, 0), (0, 0))))
    Image.fromarray(np.concatenate(columns, axis=1)).save(MEDIA / "settings.jpg", quality=90)
    return table(["setting", *GOALS], rows)


async def animate_demo(engine: OnnxEngine, repository: Path) -> None:
    """Keeps the demo's portrait, talking, as a GIF."""
    with Image.open(MEDIA / "portrait.png") as image:
        picture, _ = cropped(image.convert("RGB"), SIDE, SIDE)
    spoken, _ = soundfile.read(MEDIA / "speech.wav", dtype="float32")
    samples = np.asarray(spoken, np.float32)
    samples = samples[: len(samples) // MODEL_SAMPLES_PER_FRAME * MODEL_SAMPLES_PER_FRAME]
    frames = await film(engine, repository, picture, samples)
    first, *others = (
        Image.fromarray(frame)
        .resize((GIF_SIDE, GIF_SIDE), Image.Resampling.LANCZOS)
        .quantize(GIF_COLORS)
        for frame in frames[::GIF_EVERY]
    )
    first.save(
        MEDIA / "talking.gif",
        save_all=True,
        append_images=others,
        duration=1000 * GIF_EVERY // FRAME_RATE,
        loop=0,
    )


def every_setting() -> dict[str, GenerationSettings]:
    """Returns what is tried, by its name."""
    tried = {
        f"{steps} steps, guidance {scale:g}": replace(FLASH, steps=steps, audio_guidance=scale)
        for steps in STEPS
        for scale in GUIDANCE
    }
    return tried | {name: replace(FLASH, sampler=name) for name in SAMPLERS}


def labelled(name: str, picture: NDArray[np.uint8]) -> Image.Image:
    """Returns a picture below its name."""
    height, width, _ = picture.shape
    image = Image.new("RGB", (width, height + LABEL_PX), "white")
    image.paste(Image.fromarray(picture), (0, LABEL_PX))
    ImageDraw.Draw(image).text((2, 1), name, "black")
    return image


HOW = f"""{CLIPS} people drawn from seeds that no training uses, speaking {SECONDS:g} s each with
voices and sentences that no training uses, live windows, the default settings. The mouth is read
from the frames: the face is known, so the drawing nearest to a frame tells how far its mouth is
open. How far it should be open follows from the sound (`export/demo/mouths.py`).

- Lag: by how many frames the mouth follows the sound.
- Silence / speech: the mean opening in silence, as a share of that in speech.
- Outside: everything but the mouth, against the portrait.
- Flicker: the mean difference of neighbouring frames outside the mouth, in levels of 255.
- Seam jump: the mean difference of neighbouring frames where windows overlap, over that
  elsewhere."""
FAULTS = """## Faults

What the same measure says when something is wrong on purpose, on clip 0."""
MISSED = """One goal is missed. Outside the mouth the picture keeps less of the portrait than the
28 dB asked for: the VAE is small, and each window begins from frames that it has decoded."""
SETTINGS = f"""## Steps, guidance, samplers

{GRID_SECONDS:g} s of clip {GRID_CLIP}. The pictures are frames whose mouths should be closed, a
quarter open, and so on up to as wide as they get.

![frames of every setting](media/settings.jpg)"""
SHEET = f"""The first {SHEET_CLIPS} clips: the portrait and {SHEET_FRAMES} frames, evenly spaced:

![portraits and frames](media/talking.jpg)"""


async def main(repository: Path) -> None:
    """Measures and writes the page."""
    engine = OnnxEngine(repository)
    await animate_demo(engine, repository)
    write_measured(
        "lip-sync.md",
        "lip_sync",
        "Does the demo talk?",
        f"Measured on the checkpoint `{read_manifest(repository).checkpoint_digest}`. {HOW}",
        await clips_table(engine, repository),
        MISSED,
        SHEET,
        FAULTS,
        await faults_table(engine, repository),
        SETTINGS,
        await settings_table(engine, repository),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path, help="a model repository of the demo's checkpoint")
    asyncio.run(main(parser.parse_args().repository))
