"""How far faces drift from their portrait in long speech, with known frames held to it and without.

python -m tests.reports.drift REPOSITORY
"""

import argparse
import asyncio
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.demo.mouths import motion
from server.audio.clock import FRAME_RATE, MODEL_SAMPLES_PER_FRAME
from server.manifest import read_manifest
from server.triton.engine import Engine
from tests.reports.markdown import DOCS, table, write_measured
from tests.support.lip_sync import correlation, openings, outside_db
from tests.support.onnx_engine import OnnxEngine
from tests.support.talking import DRIFT_LEVELS, SPEC, TalkingClip, film, held_out_clip, seams

Pictures = NDArray[np.uint8]

CLIPS, SECONDS, PART_S = (0, 3), 60, 10
LONG_S = 600
LONG_PARTS_S = (0, 30, *range(60, LONG_S - 59, 60), LONG_S - PART_S)
LEVELS = (0.0, DRIFT_LEVELS, 2 * DRIFT_LEVELS)
SHOWN_S = (0, 10, 20, 30, 45, 59)
SHEET = DOCS / "media" / "drift.jpg"


def parts_table(clip: TalkingClip, made: dict[float, Pictures], parts_s: Iterable[int]) -> str:
    """Returns what a face is like in ten seconds, from each of some moments on."""
    rows: list[list[object]] = []
    for start_s in parts_s:
        start = start_s * FRAME_RATE
        part = slice(start, start + PART_S * FRAME_RATE)
        row: list[object] = [start_s]
        for frames in made.values():
            row += [
                f"{outside_db(clip.face, frames[part], clip.picture):.1f}",
                f"{sharpness(clip, frames[part]):.2f}",
            ]
            row.append(f"{in_sync(clip, frames[part], start):.2f}")
        rows.append(row)
    names = ("outside, dB", "sharpness", "correlation")
    header = ["from, s", *(f"{name}, {levels:g}" for levels in made for name in names)]
    return table(header, rows)


def sharpness(clip: TalkingClip, frames: Pictures) -> float:
    """Returns the strength of edges over the portrait's: the Laplacian's deviation."""
    return float(np.mean([_edges(frame) for frame in frames]) / _edges(clip.picture))


def _edges(picture: Pictures) -> float:
    grey = picture.astype(np.float64).mean(axis=-1)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((4 * grey[1:-1, 1:-1] - around).std())


def in_sync(clip: TalkingClip, frames: Pictures, start: int) -> float:
    """Returns how the mouth's opening correlates with the speech from a frame on."""
    samples = clip.samples[start * MODEL_SAMPLES_PER_FRAME :]
    true = motion(samples[: len(frames) * MODEL_SAMPLES_PER_FRAME]).openings[: len(frames)]
    return correlation(openings(clip.face, frames), true, 0)


async def long_film(engine: Engine, repository: Path, index: int) -> str:
    """Returns what becomes of a face in ten minutes, by default."""
    clip = held_out_clip(index, LONG_S)
    frames = await film(engine, repository, clip.picture, clip.samples, spec=SPEC)
    starts = range(0, len(frames), PART_S * FRAME_RATE)
    outside = [
        outside_db(clip.face, frames[start : start + PART_S * FRAME_RATE], clip.picture)
        for start in starts
    ]
    lowest = int(np.argmin(outside))
    return (
        f"### Ten minutes\n\nWith {DRIFT_LEVELS:g} levels. Of all {len(outside)} parts of "
        f"{PART_S} s the one from {lowest * PART_S} s on is farthest from the portrait, "
        f"{outside[0] - outside[lowest]:.1f} dB below the first. Seams, over the usual difference "
        f"of frames: {seam_jump(frames):.2f}.\n\n"
        f"{parts_table(clip, {DRIFT_LEVELS: frames}, LONG_PARTS_S)}"
    )


def seam_jump(frames: Pictures) -> float:
    """Returns how frames differ from the next where windows overlap, over elsewhere."""
    steps = np.array([np.abs(b.astype(np.int16) - a).mean() for a, b in pairwise(frames)])
    at_seam = np.isin(np.arange(len(steps)), seams(len(frames)))
    return float(steps[at_seam].mean() / steps[~at_seam].mean())


def save_sheet(films: dict[int, dict[float, Pictures]]) -> None:
    """Draws a line for each face and setting: the portrait, and how it looks after some time."""
    lines = [
        np.concatenate(
            [held_out_clip(index, 1.0).picture, *(frames[s * FRAME_RATE] for s in SHOWN_S)], axis=1
        )
        for index, made in films.items()
        for frames in made.values()
    ]
    Image.fromarray(np.concatenate(lines)).save(SHEET, quality=90)


INTRO = f"""Measured on the checkpoint `{{digest}}`, on {len(CLIPS)} people who are in no training
and {SECONDS} s of speech each, in this process. `--drift-levels` {LEVELS[0]:g} tells each window
the last frames of the one before as they are; with {LEVELS[1]:g}, the default, and {LEVELS[2]:g}
what their colours have drifted is taken from them first ([how](../server/animation/anchor.py)).
`outside` is the PSNR against the portrait without the mouth, `sharpness` the strength of edges over
the portrait's, `correlation` that of the mouth's opening with the speech."""
CHOICE = f"""## What it means

Told its own frames as they are, the demo's model loses the face within a minute. Held to the
portrait it keeps it. More levels hold it better where nothing but the mouth moves, as with the
demo's drawn faces; but what is moved by less is then pulled back as well: on a photograph whose
head is moved by a tenth of its side, colours drifted, {LEVELS[1]:g} levels leave 37 dB and
{LEVELS[2]:g} leave 31, where the drift alone had left 30 (the pictures of
tests/server/animation/test_anchor.py). So the default is between. It holds colours, not edges: what
the VAE blurs stays blurred. What the public weights drift by was not measured: with them try other
levels, and look. Exact clips are made as the authors make them, and are never held.

The goal was to stay within 1 dB of the first ten seconds for ten minutes, with no seam above 1.5
times the usual difference of frames."""


async def main(repository: Path) -> None:
    """Measures, and writes the page and its picture."""
    engine, films = OnnxEngine(repository), dict[int, dict[float, Pictures]]()
    tables: list[str] = []
    for index in CLIPS:
        clip = held_out_clip(index, SECONDS)
        films[index] = {
            levels: await film(
                engine, repository, clip.picture, clip.samples, spec=SPEC, drift_levels=levels
            )
            for levels in LEVELS
        }
        jumps = ", ".join(f"{seam_jump(f):.2f} with {n:g}" for n, f in films[index].items())
        title = f"## Person {index}\n\nSeams, over the usual difference of frames: {jumps}."
        parts_s = range(0, SECONDS, PART_S)
        tables += [title, parts_table(clip, films[index], parts_s)]
        tables.append(await long_film(engine, repository, index))
    save_sheet(films)
    times = ", ".join(map(str, SHOWN_S))
    picture = f"![a line for each person and setting](media/{SHEET.name})"
    caption = f"The portrait, and second {times}: a line for {LEVELS[0]:g}, {LEVELS[1]:g} and "
    write_measured(
        "drift.md",
        "drift",
        "Drift: what becomes of a face in long speech",
        INTRO.format(digest=read_manifest(repository).checkpoint_digest),
        picture,
        f"{caption}{LEVELS[2]:g} levels of each person.",
        *tables,
        CHOICE,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path, help="a model repository of the flash variant")
    asyncio.run(main(parser.parse_args().repository))
