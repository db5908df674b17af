"""What a face does while nobody speaks, for ten simulated minutes, and what that costs.

python -m tests.reports.idle REPOSITORY
"""

import argparse
import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.animation.face_warp import FaceWarp
from server.animation.idle_motion import HEAD_X, HEAD_Y, ROLL, TURN, Motion, Pose
from server.animation.tokens import PromptTokenizer
from server.manifest import TOKENIZER, read_manifest
from server.pictures.encoding import FrameEncoding, encode_picture
from server.pictures.mesh import FaceMesh, find_meshes, follow_face
from server.pictures.portrait import Picture
from server.sessions.conversation import Conversation, converse
from server.sessions.events import Frame
from server.sessions.gateway import Gateway
from server.sessions.idle import INTO_IDLE_S
from server.sessions.jobs import IdleMode, Offer
from server.sessions.life import WarpLife
from server.settings import Settings
from tests.reports import blinks
from tests.reports.cpu import RUNS, cpu_ms
from tests.reports.markdown import DOCS, table, write_measured
from tests.support import virtual_time
from tests.support.conversations import LIMITS, job
from tests.support.onnx_engine import OnnxEngine
from tests.support.talking_photograph import photograph

MEDIA = DOCS / "media"
SHEET, GIF = MEDIA / "idle.jpg", MEDIA / "idle.gif"
MINUTES, FPS, SEED = 10, 25, 43
LOOKED_AT_S = 60
"""So much of the ten minutes is looked at by the mesh, too."""
SHUT = 0.6
"""Eyes open by less than that part of what they usually are blink."""
SIDE = 512
GIF_S, GIF_SIDE, GIF_FPS = 6, 256, 12.5
SAID_S, PAUSE_S = 2.0, 3.0


class Watched(Gateway):
    """Notes the poses in which portraits are drawn."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.poses: list[Pose] = []

    async def warp_life(self, job: Any, prepared: Any) -> WarpLife:
        meshes = await find_meshes(self._engine, prepared.picture)
        warp = FaceWarp(prepared.picture, meshes[0])

        def draw(pose: Pose) -> Picture:
            self.poses.append(pose)
            return warp.draw(pose)

        return WarpLife(draw, job.generation.seed)


async def idle_minutes(
    engine: OnnxEngine, repository: Path, portrait: Picture
) -> tuple[list[Pose], list[Picture]]:
    """Returns the poses of some minutes in which nobody speaks, and the pictures of the first."""
    manifest = read_manifest(repository).model_copy(update={"sizes": ((SIDE, SIDE),)})
    gateway = Watched(
        Offer(Settings.model_construct(), manifest),
        engine,
        PromptTokenizer(repository / TOKENIZER),
    )
    # The networks of speech are not run.
    gateway.encode = nothing  # pyright: ignore[reportAttributeAccessIssue]
    gateway.direction = nothing  # pyright: ignore[reportAttributeAccessIssue]
    form = replace(job().video_format, width=SIDE, height=SIDE)
    asked = job(portrait=png(portrait), video_format=form, idle="warp")
    pictures: list[Picture] = []
    async with converse(gateway, asked, LIMITS, asyncio.get_running_loop().time) as conversation:
        events = conversation.events()
        for number in range(MINUTES * 60 * FPS):
            frame = await anext(events)
            assert isinstance(frame, Frame)
            if number < LOOKED_AT_S * FPS:
                pictures.append(frame.picture)
    return gateway.poses, pictures


async def nothing(*_: Any) -> Any:
    return None


def png(picture: Picture) -> bytes:
    return encode_picture(picture, FrameEncoding.PNG, 0)


def begins(flags: Sequence[bool] | NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns when flags that are one a frame begin to be set, in seconds."""
    return np.array([n for n, (a, b) in enumerate(pairwise([False, *flags])) if b and not a]) / FPS


def motion_table(poses: list[Pose]) -> str:
    """Returns what the poses of ten minutes are, minute for minute, and in all."""
    blinks = begins([pose.closure > 0 for pose in poses])
    looks = np.array([pose.gaze for pose in poses[FPS:]])
    shifts = begins([*(np.abs(np.diff(looks, axis=0)).max(axis=1) > 0.02)])
    lengths = np.array([pose.closure > 0 for pose in poses]).sum() / len(blinks) / FPS
    minutes = [int(((blinks >= 60 * m) & (blinks < 60 * m + 60)).sum()) for m in range(MINUTES)]
    places = np.array([(*p.shift, *p.turn, p.roll) for p in poses])
    most = (HEAD_X, HEAD_Y, *TURN, ROLL)
    apart = np.diff(shifts)
    names = ("shift across", "shift down", "turn", "nod", "roll")
    units = ("% of the face's width",) * 4 + ("degrees",)
    scale = (100.0,) * 4 + (float(np.degrees(1)),)
    heads = [
        [f"{name}, {unit}", f"{k * np.abs(of).max():.2f}", f"at most {k * bound:.2f}"]
        for name, unit, k, of, bound in zip(names, units, scale, places.T, most, strict=True)
    ]
    return table(
        ["", "found", "promised"],
        [
            ["blinks in each minute", ", ".join(map(str, minutes)), "12 to 20"],
            ["seconds between blinks", span(np.diff(blinks)), ""],
            ["a blink, ms, in whole frames", f"{1000 * lengths:.0f} on average", "150 to 250"],
            ["seconds between shifts of gaze", span(apart), "2 to 5"],
            *heads,
        ],
    )


def listening_table() -> str:
    """Returns what the poses of a listener are, beside those of a face that only waits."""
    motion = Motion(SEED)
    moments_s = np.arange(FPS, MINUTES * 60 * FPS) / FPS
    rows: dict[str, list[object]] = {}
    for attention in (0.0, 1.0):
        poses = [motion.pose(at_s, attention=attention) for at_s in moments_s]
        gaze = np.abs([pose.gaze for pose in poses])
        sway = np.abs([(*pose.shift, *pose.turn) for pose in poses]).max(axis=0)
        found = {
            "farthest gaze across, radii of the iris": f"{gaze[:, 0].max():.2f}",
            "farthest gaze down, radii of the iris": f"{gaze[:, 1].max():.2f}",
            "time looking at whoever talks, %": f"{100 * (gaze.max(axis=1) < 0.02).mean():.0f}",
            "nods a minute": f"{attention * nods(motion, moments_s) / MINUTES:.1f}",
            "blinks a minute": f"{len(begins([p.closure > 0 for p in poses])) / MINUTES:.1f}",
            "farthest shift down, % of the face's width": f"{100 * sway[1]:.2f}",
        }
        for name, value in found.items():
            rows.setdefault(name, []).append(value)
    return table(["", "idle", "listening"], [[name, *values] for name, values in rows.items()])


def nods(motion: Motion, moments_s: NDArray[np.float64]) -> int:
    """Returns how many nods begin."""
    return len(begins([motion.nod(at_s) > 0.01 for at_s in moments_s]))


def span(values: NDArray[np.float64]) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


async def looked_at(engine: OnnxEngine, pictures: list[Picture], poses: list[Pose]) -> str:
    """Returns what the mesh finds in pictures, in words."""
    (first, *_) = await find_meshes(engine, pictures[0])
    followed = await follow_face(engine, pictures, first)
    meshes = [mesh for mesh in followed if mesh is not None]
    assert len(meshes) == len(pictures)
    opened = np.array([np.mean([eye.openness for eye in mesh.eyes]) for mesh in meshes])
    seen = begins(opened < SHUT * np.median(opened))
    drawn = begins([pose.closure > 0.5 for pose in poses[: len(pictures)]])
    still = meshes[0].box
    moved = np.abs(np.array([mesh.box for mesh in meshes]) - still).max()
    return (
        "The mesh of faces, which knows nothing of the poses, looked at the first "
        f"{LOOKED_AT_S} s of these pictures, all {len(pictures)}: it saw {len(seen)} blinks where "
        f"{len(drawn)} were drawn, and the face's box moved by "
        f"{moved / (still[2] - still[0]):.1%} of its width at most."
    )


def cost_table(faces: dict[str, tuple[Picture, FaceMesh]]) -> str:
    """Returns what a picture costs, beside its encoding."""
    rows: list[list[object]] = []
    for name, (picture, mesh) in faces.items():
        warp = FaceWarp(picture, mesh)
        poses = [Motion(SEED).pose(number / FPS) for number in range(RUNS)]
        blinking = replace(poses[0], closure=0.5, gaze=(0.3, 0.1))
        encoding = cpu_ms(partial(encode_picture, picture, FrameEncoding.JPEG, 90))
        usual = cpu_ms(*[partial(warp.draw, pose) for pose in poses])
        dear = cpu_ms(partial(warp.draw, blinking))
        width = mesh.box[2] - mesh.box[0]
        ratios = f"{usual / encoding:.1f}", f"{dear / encoding:.1f}"
        rows.append(
            [name, f"{width:.0f}", f"{encoding:.2f}", f"{usual:.2f}", f"{dear:.2f}", *ratios]
        )
    header = ["picture", "face, px", "JPEG, ms", "warp, ms", "in a blink, ms"]
    return table([*header, "warp, encodings", "in a blink, encodings"], rows)


async def borders(engine: OnnxEngine, repository: Path, mode: IdleMode) -> list[object]:
    """Returns a line: by how much frames differ in speech, and most at borders to idle."""
    manifest = read_manifest(repository)
    offer = Offer(Settings.model_construct(), manifest)
    gateway = Gateway(offer, engine, PromptTokenizer(repository / TOKENIZER))
    width, height = offer.sizes[0]
    form = replace(job().video_format, width=width, height=height)
    portrait = (MEDIA / "portrait.png").read_bytes()
    asked = job(portrait=portrait, video_format=form, generation=offer.generation, idle=mode)
    speech = (MEDIA / "speech.wav").read_bytes()[44:]
    said = round(SAID_S * 32_000)
    frames: list[Frame] = []
    async with converse(gateway, asked, LIMITS, asyncio.get_running_loop().time) as conversation:
        for part in range(2):
            await until(conversation, frames, lambda f: f.is_idle, round(PAUSE_S * FPS))
            await conversation.push_audio(speech[part * said : (part + 1) * said], field="audio")
            await conversation.end_utterance()
            await until(conversation, frames, lambda f: not f.is_idle, round(SAID_S * FPS))
        await until(conversation, frames, lambda f: f.is_idle, round(PAUSE_S * FPS))
    steps = np.array(
        [np.abs(b.picture.astype(int) - a.picture).mean() for a, b in pairwise(frames)]
    )
    idle = np.array([frame.is_idle for frame in frames])
    at_border = np.zeros(len(steps), bool)
    for n in np.flatnonzero(idle[1:] != idle[:-1]):
        # Into speech a fade only lessens what speech itself moves.
        at_border[n : n + (round(INTO_IDLE_S * FPS) + 1 if idle[n + 1] else 1)] = True
    spoken = steps[~idle[1:] & ~at_border]
    worst = steps[at_border].max()
    return [
        mode,
        f"{spoken.mean():.2f}",
        f"{steps[idle[1:] & ~at_border].mean():.2f}",
        f"{worst:.2f}",
        f"{worst / spoken.mean():.2f}",
    ]


async def until(
    conversation: Conversation, frames: list[Frame], wanted: Callable[[Frame], bool], count: int
) -> None:
    """Takes events up to so many wanted frames."""
    events = conversation.events()
    while count:
        event = await anext(events)
        if isinstance(event, Frame):
            frames.append(event)
            count -= wanted(event)


def save_pictures(picture: Picture, mesh: FaceMesh) -> None:
    """Draws the sheet: a blink, and where face and eyes go; and some seconds as a GIF."""
    warp, motion = FaceWarp(picture, mesh), Motion(SEED)
    begun_s, length_s = motion.blink(30)
    blink = [warp.draw(motion.pose(begun_s + n * length_s / 5, 0.0)) for n in range(6)]
    most = Pose(shift=(HEAD_X, HEAD_Y), turn=TURN, roll=ROLL)
    least = Pose(shift=(-HEAD_X, -HEAD_Y), turn=(-TURN[0], -TURN[1]), roll=-ROLL)
    looks = [Pose(gaze=gaze) for gaze in ((-0.45, 0.0), (0.45, 0.0), (0.0, -0.2), (0.0, 0.2))]
    poses = [warp.draw(pose) for pose in (most, least, *looks)]
    left, top, right, bottom = (round(side) for side in mesh.box)
    face = np.s_[top - 40 : bottom + 20, left - 30 : right + 30]
    rows = [np.concatenate([one[face] for one in row], axis=1) for row in (blink, poses)]
    Image.fromarray(np.concatenate(rows)).save(SHEET, quality=85)
    moments = begun_s - 1.5 + np.arange(round(GIF_S * GIF_FPS)) / GIF_FPS
    shots = [
        Image.fromarray(warp.draw(motion.pose(at_s))).resize(
            (GIF_SIDE, GIF_SIDE), Image.Resampling.LANCZOS
        )
        for at_s in moments
    ]
    palette = shots[0].quantize(128)
    first, *others = [shot.quantize(palette=palette, dither=Image.Dither.NONE) for shot in shots]
    first.save(GIF, save_all=True, append_images=others, duration=round(1000 / GIF_FPS), loop=0)


INTRO = f"""Ten simulated minutes of a stream on which nobody speaks, in the mode `WARP`: a
conversation as the gateway has it, {FPS} frames a second, in a time that passes at once, with head
and shoulders of [a photograph](media/README.md) at {SIDE}x{SIDE}.
[idle_motion.py](../server/animation/idle_motion.py) has how a face moves,
[eye_warp.py](../server/animation/eye_warp.py) and [face_warp.py](../server/animation/face_warp.py)
what that looks like, and [api.md](api.md#while-nobody-speaks) how time runs."""
PICTURES = f"""![a blink, and extremes of head and gaze](media/{SHEET.name})

Above a blink, from its beginning to its end; below the farthest that the head goes, both ways, and
the irises, to both sides, up and down. {GIF_S} s of it:

![a face that blinks, looks aside and back](media/{GIF.name})"""
COST = """## What it costs

Time of one thread for a picture of 512x512, as a median, and that of its encoding as a JPEG of
quality 90. The larger the face, the more of the picture moves: the last one's is half as wide as
the picture. A blink is the dearest moment. Two encodings are the goal. Programs that run meanwhile
share the caches, which costs a warp more than an encoding; {load}."""
LISTENING = """## While the other person talks

As many minutes of poses of a face that [listens](api.md#listening): it looks at whoever talks but
for short glances, sways less, nods, and blinks as ever."""
BORDERS = f"""## Borders to speech

The demo's models and drawn portrait: {PAUSE_S:g} s idle, {SAID_S:g} s of speech, and so once more,
and idle again. By how many levels a frame differs from the one before, as a mean over the picture:
in speech, in idle, and the most at a border, which is the step over it and, into idle, the fade."""


def shown(repository: Path) -> dict[str, tuple[Picture, FaceMesh]]:
    """Returns the photographs and their meshes, by what is seen of them."""
    engine = OnnxEngine(repository)
    whole = np.asarray(Image.open(MEDIA / "photograph.jpg").convert("RGB"))
    pictures = {"to the waist": whole, "head and shoulders": photograph(SIDE)}
    left, top, right, bottom = 130, 30, 320, 220
    close = Image.fromarray(whole).crop((left, top, right, bottom))
    pictures["head"] = np.asarray(close.resize((SIDE, SIDE), Image.Resampling.LANCZOS))

    async def meshes() -> dict[str, tuple[Picture, FaceMesh]]:
        return {n: (p, (await find_meshes(engine, p))[0]) for n, p in pictures.items()}

    return asyncio.run(meshes())


def main(repository: Path) -> None:
    """Measures, and writes the page and its pictures."""
    engine, faces = OnnxEngine(repository), shown(repository)
    portrait, mesh = faces["head and shoulders"]
    save_pictures(portrait, mesh)
    load = f"on average {os.getloadavg()[0]:.1f} wanted one of the {os.cpu_count()} cores"
    costs = cost_table(faces)
    poses, pictures = virtual_time.run(idle_minutes(engine, repository, portrait))
    seen = asyncio.run(looked_at(engine, pictures, poses))
    modes: tuple[IdleMode, ...] = ("warp", "model")
    rows = [virtual_time.run(borders(engine, repository, mode)) for mode in modes]
    header = ["mode", "speech", "idle", "most at a border", "over speech"]
    write_measured(
        "idle.md",
        "idle",
        "Idle: a face while nobody speaks",
        INTRO,
        motion_table(poses),
        seen,
        PICTURES,
        COST.format(load=load),
        costs,
        *blinks.section(engine, faces),
        LISTENING,
        listening_table(),
        BORDERS,
        table(header, rows),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path, help="a model repository of the flash variant")
    main(parser.parse_args().repository)
