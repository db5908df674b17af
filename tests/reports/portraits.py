"""What the check of portraits says of good ones, and of the same made bad in known ways.

python -m tests.reports.portraits [--others FOLDER]
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.cbook
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from export.demo.faces import random_face
from server.pictures.checks import RULES, Finding, Look, Outcome, check
from server.pictures.framing import Framing, framed, shown_part
from server.pictures.mesh import FaceMesh, find_meshes
from server.triton.engine import Engine
from tests.reports.markdown import DOCS, table, write_measured
from tests.support.bad_portraits import DEGRADED
from tests.support.onnx_engine import OnnxEngine
from tests.support.paths import ROOT

REPOSITORY = ROOT / "export" / "demo" / "model_repository"
FRAME_PX = (512, 512)
DRAWN = 4
GALLERY = ("photograph", "drawn", "officer")
CELL_PX, CAPTION_PX, COLUMNS = 160, 40, 6
GOOD = "good"
PHONE = ("a phone's picture", "the same, framed", "head and shoulders")


@dataclass(frozen=True)
class Case:
    """A picture, what is wrong with it, and what the check said."""

    portrait: str
    kind: str
    expected: str | None
    image: Image.Image
    findings: tuple[Finding, ...]

    @property
    def said(self) -> set[str]:
        """The codes of what is not as it should be."""
        bad = (Outcome.WARNING, Outcome.ERROR)
        return {found.rule.code for found in self.findings if found.outcome in bad}


def portraits() -> dict[str, Image.Image]:
    """Returns the good portraits: photographs in the public domain, and drawings."""
    media = DOCS / "media"
    officer = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    drawings = {
        f"drawn {seed}": random_face(np.random.default_rng((8, seed))).portrait(512)
        for seed in range(DRAWN)
    }
    return {
        "photograph": Image.open(media / "photograph.jpg").convert("RGB"),
        "officer": Image.open(str(officer)).convert("RGB"),
        "drawn": Image.open(media / "portrait.png").convert("RGB"),
        **drawings,
    }


async def cases_of(engine: Engine, name: str, image: Image.Image) -> list[Case]:
    """Returns a good portrait and all that it is made into, judged."""
    faces = await find_meshes(engine, np.asarray(image))
    cases = [judged(name, GOOD, None, image, faces)]
    if not faces:
        return cases
    for kind, (expected, degrade) in DEGRADED.items():
        bad = degrade(image, faces[0])
        seen = await find_meshes(engine, np.asarray(bad))
        cases.append(judged(name, kind, expected, bad, seen))
    return cases


def judged(
    name: str, kind: str, expected: str | None, image: Image.Image, faces: tuple[FaceMesh, ...]
) -> Case:
    """Returns what the check says of a picture."""
    box = faces[0].box if faces else None
    shown = shown_part(image.size, FRAME_PX, box, Framing.FILL)
    return Case(name, kind, expected, image, tuple(check(Look(image, shown, faces))))


def score(cases: Iterable[Case]) -> str:
    """Returns precision and recall in a sentence."""
    bad = [case for case in cases if case.expected]
    found = sum(case.expected in case.said for case in bad)
    told = sum(len(case.said) for case in cases)
    quiet = sum(not case.said for case in cases if case.expected is None)
    good = sum(case.expected is None for case in cases)
    return (
        f"Recall {found / max(1, len(bad)):.2f} ({found} of {len(bad)} faults found), precision "
        f"{found / max(1, told):.2f} ({found} of {told} warnings name the fault that was made); "
        f"{quiet} of {good} good portraits pass without a word."
    )


def kinds_table(cases: list[Case]) -> str:
    """Returns what is said of each kind of bad portrait."""
    rows: list[list[object]] = []
    for kind, (expected, _) in DEGRADED.items():
        of_kind = [case for case in cases if case.kind == kind]
        found = sum(expected in case.said for case in of_kind)
        others = Counter(code for case in of_kind for code in case.said - {expected})
        also = ", ".join(f"`{code}` {count}" for code, count in others.most_common())
        rows.append([kind, f"`{expected}`", f"{found} of {len(of_kind)}", also])
    return table(["made bad", "to be found", "found", "said besides"], rows)


def rules_table() -> str:
    """Returns the checks."""
    rows: list[list[object]] = []
    for rule in RULES:
        word = "at least" if rule.is_minimum else "at most"
        error = "" if rule.error is None else f"{word} {rule.error:g}"
        rows.append([f"`{rule.code}`", rule.quantity, f"{word} {rule.warning:g}", error])
    return table(["check", "what is measured", "else a warning", "else an error"], rows)


async def framings(engine: Engine, image: Image.Image) -> list[tuple[str, Image.Image]]:
    """Returns a picture of 9 : 16 with a small head at the top, and what frames show of it."""
    tall = ImageOps.pad(image, (720, 1280), color=(120, 116, 112), centering=(0.5, 0.0))
    (face, *_) = await find_meshes(engine, np.asarray(tall))
    shown = [
        Image.fromarray(framed(tall, shown_part(tall.size, FRAME_PX, face.box, each), FRAME_PX)[0])
        for each in (Framing.FILL, Framing.HEAD_AND_SHOULDERS)
    ]
    return list(zip(PHONE, [tall, *shown], strict=True))


def sheet(cells: list[tuple[str, Image.Image]]) -> Image.Image:
    """Returns pictures with captions, in rows."""
    font = ImageFont.load_default(11)
    rows = -(-len(cells) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * CELL_PX, rows * (CELL_PX + CAPTION_PX)), "white")
    draw = ImageDraw.Draw(page)
    for number, (caption, image) in enumerate(cells):
        row, column = divmod(number, COLUMNS)
        small = ImageOps.contain(image, (CELL_PX - 8, CELL_PX - 8), Image.Resampling.LANCZOS)
        x, y = column * CELL_PX, row * (CELL_PX + CAPTION_PX)
        page.paste(small, (x + (CELL_PX - small.width) // 2, y + 4))
        draw.multiline_text((x + 4, y + CELL_PX - 2), caption, "black", font, spacing=1)
    return page


def caption(case: Case) -> str:
    """Returns what is wrong and what was said, in up to three lines."""
    said = sorted(case.said, key=lambda code: code != case.expected)
    more = f" +{len(said) - 1}" if len(said) > 1 else ""
    return f"{case.kind}\n{said[0] + more if said else 'passes'}"


INTRO = """`CheckPortrait`, `POST /v1/portraits/check` and `animate check PORTRAIT` say
what could be better about a portrait; streams and renders are told the same as warnings.
[server/pictures/checks.py](../server/pictures/checks.py) is the table. The face is
found and measured by three networks of MediaPipe's, which the export puts into every repository
([server/pictures/mesh.py](../server/pictures/mesh.py)); where a repository has none, `TOO_DARK`
and `PORTRAIT_SMALL` are checked and all else is `NOT_CHECKED`. Drawings are measured as
photographs are."""
ERRORS = """## Warnings and errors

A warning is told and the call goes on; an error ends it. With `strict` in the portrait warnings
are errors, before the call is opened. Errors are only what is wrong for certain and ruins the
film: a picture that lies on its side, a face of which nearly half is cut off, a picture that is
black. That no face is found is a warning: drawings and masks are portraits too,
though the networks may not know them, and whoever sends one would rather see it speak.
`strict` is for services whose users send photographs of themselves. Heads of less than an eighth
of the picture are not found.

Where the portrait has the frames' shape, nothing waits for the check: it runs beside what is
encoded, and its warnings follow. Where it has another shape, or `framing` is
`HEAD_AND_SHOULDERS`, the face is found first. What is shown then has the whole head in it; a head
that is too long for the frame is shown whole, and the rest of the frame is filled with a blurred
copy."""
MADE = """## What it says

{count} good portraits: two photographs in the public domain (astronaut Eileen Collins, NASA; rear
admiral Grace Hopper, United States Navy), the demo's drawn portrait and {drawn} more drawings by
its artist. Each is made bad in {kinds} known ways by
[tests/support/bad_portraits.py](../tests/support/bad_portraits.py). No photograph of a turned face
is among them: the head is turned by 40 degrees as a surface in space, the mesh's points, with the
picture on it ([tests/support/turned.py](../tests/support/turned.py)). The thresholds were chosen
while looking at some of these pictures, so the numbers say that the checks tell these faults
apart, not how they do on yours."""


def pictures_in(folder: Path) -> dict[str, Image.Image]:
    """Returns the pictures in a folder."""
    files = sorted(file for file in folder.iterdir() if file.suffix in (".jpg", ".png"))
    return {file.stem: Image.open(file).convert("RGB") for file in files}


async def main(others: dict[str, Image.Image]) -> None:
    """Judges, and writes the page and its pictures."""
    engine = OnnxEngine(REPOSITORY)
    good = portraits()
    cases = [case for name, image in good.items() for case in await cases_of(engine, name, image)]
    gallery = [
        (caption(case), case.image) for name in GALLERY for case in cases if case.portrait == name
    ]
    gallery += await framings(engine, good["officer"])
    sheet(gallery).save(DOCS / "media" / "portraits.jpg", quality=88)
    parts = [
        MADE.format(count=len(good), drawn=DRAWN, kinds=len(DEGRADED)),
        score(cases),
        kinds_table(cases),
        "![what was said of each picture](media/portraits.jpg)",
    ]
    if others:
        parts += await further(engine, others)
    write_measured("portraits.md", "portraits", "Portraits", INTRO, rules_table(), ERRORS, *parts)


async def further(engine: Engine, pictures: dict[str, Image.Image]) -> list[str]:
    """Returns what is said of pictures that are not in this repository."""
    cases = [
        case for name, image in pictures.items() for case in await cases_of(engine, name, image)
    ]
    return [
        "## Pictures that are not in this repository",
        f"{len(pictures)} portraits of the authors' demo, photographs and cartoons, likewise "
        "(`--others FOLDER`).",
        score(cases),
        kinds_table(cases),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--others", type=Path, help="a folder of further good portraits")
    folder = parser.parse_args().others
    asyncio.run(main(pictures_in(folder) if folder else {}))
