"""A portrait whose head is turned: its mesh as a surface in space, with the picture on it.

points of the mesh, and rings around them -> how far each place moves -> a grid, the nearest seen
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import gaussian_filter, map_coordinates

from server.pictures.face_view import OVAL
from server.pictures.mesh import FaceMesh

RINGS = np.linspace(1, 2.4, 8)[1:]
"""How much wider than the face's outline: hair and neck turn with it, and less the farther away."""
CELLS = 32
"""Of the grid, along the height of the face."""
SMOOTH = 1.5
"""In cells: where the surface is seen from its edge, its points lie in disorder."""
MOVES_PX = 0.01
FAR_AWAY_PX = 1e4
Points = NDArray[np.float64]


def turned(image: Image.Image, mesh: FaceMesh, degrees: float) -> Image.Image:
    """Turns a head about its vertical axis, the nose to the left where the angle is positive.

    What the picture does not show is made of what it shows beside it.
    """
    source, moved, nearness, triangles = _grid(image, mesh, math.radians(degrees))
    target = source + np.stack([moved, np.zeros_like(moved)], axis=1)
    height, width = image.height, image.width
    seen = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float64)
    nearest = np.full((height, width), -np.inf)
    for corners in triangles[(np.abs(moved[triangles]) > MOVES_PX).any(axis=1)]:
        _draw(source[corners], target[corners], nearness[corners], seen, nearest)
    pixels, places = np.asarray(image, np.float32), [seen[..., 1], seen[..., 0]]
    channels = [map_coordinates(pixels[..., n], places, order=1, mode="nearest") for n in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1).round().astype(np.uint8))


def _grid(
    image: Image.Image, mesh: FaceMesh, angle: float
) -> tuple[Points, Points, Points, NDArray[np.int64]]:
    """Returns places [n, 2], how far each moves to the right, how near it comes, and triangles."""
    points, depths, share = _surface(mesh)
    middle = mesh.points[OVAL].mean(axis=0)
    across, deep = points[:, 0] - middle[0], depths - middle[2]
    moved = share * (across * (math.cos(angle) - 1) + deep * math.sin(angle))
    nearness = share * (across * math.sin(angle) - deep * math.cos(angle))
    side = (mesh.box[3] - mesh.box[1]) / CELLS
    xs = np.linspace(0, image.width - 1, round(image.width / side) + 1)
    ys = np.linspace(0, image.height - 1, round(image.height / side) + 1)
    grid = np.stack(np.meshgrid(xs, ys), axis=-1)
    field = LinearNDInterpolator(points, np.stack([moved, nearness], axis=1))(grid)
    field = gaussian_filter(field, (SMOOTH, SMOOTH, 0)).reshape(-1, 2)
    numbers = np.arange(len(field)).reshape(grid.shape[:2])
    a, b, c, d = numbers[:-1, :-1], numbers[:-1, 1:], numbers[1:, :-1], numbers[1:, 1:]
    halves = [np.stack(half, axis=-1).reshape(-1, 3) for half in ((a, b, c), (b, d, c))]
    return grid.reshape(-1, 2), field[:, 0], field[:, 1], np.concatenate(halves)


def _surface(mesh: FaceMesh) -> tuple[Points, Points, Points]:
    """Returns points [n, 2], how deep each is, and how much of the turn it takes part in."""
    points = mesh.points.astype(np.float64)
    outline = points[OVAL]
    middle = outline[:, :2].mean(axis=0)
    left = (RINGS[-1] - RINGS) / (RINGS[-1] - 1)
    rings = [middle + (outline[:, :2] - middle) * ring for ring in RINGS]
    corners = [(x, y) for x in (-FAR_AWAY_PX, FAR_AWAY_PX) for y in (-FAR_AWAY_PX, FAR_AWAY_PX)]
    return (
        np.concatenate([points[:, :2], *rings, corners]),
        np.concatenate([points[:, 2], *[outline[:, 2]] * len(rings), np.zeros(4)]),
        np.concatenate(
            [np.ones(len(points)), np.repeat(left**2 * (3 - 2 * left), len(OVAL)), np.zeros(4)]
        ),
    )


def _draw(source: Points, target: Points, nearness: Points, seen: Points, nearest: Points) -> None:
    """Notes for each pixel of a triangle where it is in the picture, if nothing nearer is there."""
    height, width = nearest.shape
    left, top = np.clip(np.floor(target.min(axis=0)).astype(int), 0, None)
    right, bottom = np.clip(np.ceil(target.max(axis=0)).astype(int) + 1, None, (width, height))
    sides = (target[1:] - target[0]).T
    if left >= right or top >= bottom or abs(np.linalg.det(sides)) < 1e-9:
        return
    rows, columns = (axis.ravel() for axis in np.mgrid[top:bottom, left:right])
    along = np.linalg.solve(sides, np.stack([columns - target[0, 0], rows - target[0, 1]]))
    weights = np.stack([1 - along.sum(axis=0), *along])
    near = nearness @ weights
    shown = (weights >= -1e-6).all(axis=0) & (near >= nearest[rows, columns])
    rows, columns = rows[shown], columns[shown]
    nearest[rows, columns] = near[shown]
    seen[rows, columns] = weights[:, shown].T @ source
