"""A film on one picture: the portrait, then frames with their times."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from echomimic_client.results import Picture

CELL_PX = 240
LABEL_PX = 26
GAP_PX = 8
COLUMNS = 4
BACKGROUND = "white"
INK = "black"


def spaced(count: int, total: int) -> tuple[int, ...]:
    """Returns up to ``count`` indices below ``total``, evenly spaced from the first to the last."""
    return tuple(int(i) for i in np.linspace(0, total - 1, min(count, total)).round())


def contact_sheet(
    portrait: Image.Image, shots: Sequence[tuple[float, Picture]], columns: int = COLUMNS
) -> Image.Image:
    """Draws the portrait, cropped around its centre as the server does, and the shots in a grid.

    Args:
        portrait: the portrait.
        shots: times in seconds and pictures [height, width, 3], all of one size.
        columns: cells of a row.

    Returns:
        A picture of ceil((1 + shots) / columns) rows.
    """
    height, width = shots[0][1].shape[:2]
    cell = (CELL_PX, round(CELL_PX * height / width))
    fitted = ImageOps.fit(portrait.convert("RGB"), cell, Image.Resampling.LANCZOS)
    cells = [("portrait", fitted)] + [
        (f"{time_s:.2f} s", Image.fromarray(picture).resize(cell, Image.Resampling.LANCZOS))
        for time_s, picture in shots
    ]
    rows = -(-len(cells) // columns)
    step = (cell[0] + GAP_PX, cell[1] + LABEL_PX + GAP_PX)
    sheet = Image.new("RGB", (columns * step[0] + GAP_PX, rows * step[1] + GAP_PX), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=LABEL_PX * 2 // 3)
    for index, (label, image) in enumerate(cells):
        left = GAP_PX + index % columns * step[0]
        top = GAP_PX + index // columns * step[1]
        sheet.paste(image, (left, top))
        middle = (left + cell[0] // 2, top + cell[1] + LABEL_PX // 2)
        draw.text(middle, label, INK, font, anchor="mm")
    return sheet
