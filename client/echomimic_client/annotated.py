"""A portrait with what a server found in it drawn on it, and what it said beside it."""

import io
import textwrap

from PIL import Image, ImageDraw, ImageFont, ImageOps

from echomimic_client.portraits import PortraitReport

HEIGHT_PX, TEXT_PX, MARGIN_PX, LINE_CHARACTERS = 768, 480, 16, 52
SHOWN, CLOSE, BOX, POINT, LID = "#2f81f7", "#8957e5", "#3fb950", "#7ee787", "#f85149"
COLORS = {"passed": "#3fb950", "warning": "#d29922", "error": "#f85149", "not_checked": "#8b949e"}
PAPER, INK = "#0d1117", "#e6edf3"


def annotated(portrait: bytes, report: PortraitReport) -> Image.Image:
    """Returns a picture of the portrait with boxes, points and lids, and a column of checks.

    Args:
        portrait: its file, of a format that Pillow reads.
        report: what the server says of it.

    Raises:
        OSError: the file cannot be read.
    """
    with Image.open(io.BytesIO(portrait)) as file:
        picture = ImageOps.exif_transpose(file).convert("RGB")
    scale = HEIGHT_PX / picture.height
    picture = picture.resize((max(1, round(picture.width * scale)), HEIGHT_PX))
    _mark(ImageDraw.Draw(picture), report, scale)
    page = Image.new("RGB", (picture.width + TEXT_PX, HEIGHT_PX), PAPER)
    page.paste(picture, (0, 0))
    _write(ImageDraw.Draw(page), report, picture.width + MARGIN_PX)
    return page


def _mark(draw: ImageDraw.ImageDraw, report: PortraitReport, scale: float) -> None:
    def scaled(*values: float) -> list[float]:
        return [value * scale for value in values]

    boxes = [(report.shown, SHOWN), (report.head_and_shoulders, CLOSE)]
    for face in report.faces:
        boxes.append((face.box, BOX))
        for x, y in (scaled(*point) for point in face.points):
            draw.ellipse((x - 1, y - 1, x + 1, y + 1), POINT)
        for lid in face.lids:
            draw.line([(x * scale, y * scale) for x, y in lid], LID, 2)
    for box, color in boxes:
        if box is not None:
            corners = scaled(box.left, box.top, box.right - 1, box.bottom - 1)
            draw.rectangle(corners, outline=color, width=2)


def _write(draw: ImageDraw.ImageDraw, report: PortraitReport, x: int) -> None:
    font = ImageFont.load_default(14)
    y = MARGIN_PX
    verdict = "usable" if report.usable else "not usable"
    for text, color in [(verdict, INK), ("shown", SHOWN), ("HEAD_AND_SHOULDERS", CLOSE)]:
        draw.text((x, y), text, color, font)
        y += 20
    for check in sorted(report.checks, key=lambda check: check.outcome == "passed"):
        for line in textwrap.wrap(str(check), LINE_CHARACTERS):
            draw.text((x, y), line, COLORS[check.outcome], font)
            y += 19
        y += 4
