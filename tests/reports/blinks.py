"""What blinks over speech come to, for the page of idle life; see `idle`."""

import asyncio
import time
from fractions import Fraction
from functools import partial
from itertools import pairwise

import numpy as np
from PIL import Image

from server.animation.blink_schedule import LastBlink
from server.animation.lid_warp import with_lids
from server.pictures.encoding import FrameEncoding, encode_picture
from server.pictures.mesh import FaceMesh, find_meshes, follow_face
from server.pictures.portrait import Picture
from server.sessions.blinks import Blinks, Shown
from server.sessions.eye_watch import SHUT
from server.triton.engine import Engine
from tests.reports.cpu import cpu_ms
from tests.reports.markdown import DOCS, table
from tests.support.talking_photograph import moved

STRIP = DOCS / "media" / "blink-over-speech.jpg"
SPOKEN_S, FPS, SEED, SIDE = 60, 25, 43, 512
WINDOW = 28
"""Frames that a window of 33 adds to those before."""
INTRO = f"""## Blinks over speech

{SPOKEN_S} s of frames as they come out of the model, {FPS} a second and {WINDOW} in a window,
over which [blinks.py](../server/sessions/blinks.py) lays blinks, as
[api.md](api.md#blinks-over-speech) describes it. No weights were at hand that make a photograph
speak: in the place of their frames are those of the photograph whose head and gaze move and whose
eyes never blink."""
PICTURE = f"""![frames before, in and after a blink that is laid over them](media/{STRIP.name})

Above the frames as they are shown, below as they were made: one before the blink, all that it
covers, and one after it."""
COST = """The time of a core is that of finding the face, looking at eight frames a second and
drawing lids, with the networks on a thread of this process. Lids are drawn over the five or six
frames of a blink, and take by themselves:"""


async def spoken(engine: Engine) -> tuple[list[Picture], list[Shown], float]:
    """Returns the frames as they were made and as they are shown, and what that took, in ms a s."""
    blinks = Blinks(engine, SEED, Fraction(FPS), LastBlink(), print)
    blinks.begin()
    made = [moved(SIDE, n, is_shut=False) for n in range(SPOKEN_S * FPS)]
    shown: list[Shown] = []
    began_s = time.process_time()
    for first in range(0, len(made), WINDOW):
        shown += await blinks.over(made[first : first + WINDOW], first, 0.0, len(made))
    return made, shown, 1000 * (time.process_time() - began_s) / SPOKEN_S


async def seen(engine: Engine, shown: list[Shown]) -> int:
    """Returns how many blinks a mesh sees that knows of none."""
    pictures = [each.picture for each in shown]
    (face, *_) = await find_meshes(engine, pictures[0])
    meshes = await follow_face(engine, pictures, face)
    opened = np.array([np.mean([eye.openness for eye in mesh.eyes]) for mesh in meshes if mesh])
    shut = opened < SHUT * np.median(opened)
    return int((~shut[:-1] & shut[1:]).sum())


def begins(shown: list[Shown]) -> list[int]:
    """Returns the frames in which blinks begin."""
    flags = [each.blink is not None for each in shown]
    return [n for n, (before, now) in enumerate(pairwise([False, *flags])) if now and not before]


def save_strip(made: list[Picture], shown: list[Shown], first: int, mesh: FaceMesh) -> None:
    """Draws a blink, above the frames that it covers."""
    left, top, right, bottom = (round(side) for side in mesh.box)
    eyes = np.s_[top - 20 : (top + 2 * bottom) // 3, left - 10 : right + 10]
    end = next(n for n in range(first, len(shown)) if shown[n].blink is None)
    numbers = range(first - 1, end + 1)
    rows = [[shown[n].picture for n in numbers], [made[n] for n in numbers]]
    strips = [np.concatenate([each[eyes] for each in row], axis=1) for row in rows]
    Image.fromarray(np.concatenate(strips)).save(STRIP, quality=85)


def lids_cost(faces: dict[str, tuple[Picture, FaceMesh]]) -> str:
    """Returns what lids take beside a JPEG."""
    rows: list[list[object]] = []
    for name, (picture, mesh) in faces.items():
        lids = cpu_ms(partial(with_lids, picture, mesh, 0.5))
        jpeg = cpu_ms(partial(encode_picture, picture, FrameEncoding.JPEG, 90))
        width = mesh.box[2] - mesh.box[0]
        rows.append([name, f"{width:.0f}", f"{jpeg:.2f}", f"{lids:.2f}", f"{lids / jpeg:.1f}"])
    return table(["picture", "face, px", "JPEG, ms", "lids of a frame, ms", "encodings"], rows)


def section(engine: Engine, faces: dict[str, tuple[Picture, FaceMesh]]) -> list[str]:
    """Measures, draws the strip, and returns the section's parts."""
    moved(SIDE, 0, is_shut=False)
    made, shown, ms_a_second = asyncio.run(spoken(engine))
    first = begins(shown)
    apart = np.diff(first) / FPS
    covered = sum(each.blink is not None for each in shown)
    untouched = all(
        each.picture is own for each, own in zip(shown, made, strict=True) if each.blink is None
    )
    rows: list[list[object]] = [
        ["blinks in a minute", round(len(first) * 60 / SPOKEN_S)],
        ["blinks that a mesh sees which knows of none", asyncio.run(seen(engine, shown))],
        ["seconds between blinks", f"{apart.min():.2f} to {apart.max():.2f}"],
        ["a blink, ms, in whole frames", f"{1000 * covered / len(first) / FPS:.0f} on average"],
        ["frames without a blink are the model's own", "yes" if untouched else "no"],
        ["time of a core for each second of speech, ms", f"{ms_a_second:.0f}"],
    ]
    (mesh, *_) = asyncio.run(find_meshes(engine, made[first[0]]))
    save_strip(made, shown, first[0], mesh)
    return [INTRO, table(["", "found"], rows), PICTURE, COST, lids_cost(faces)]
