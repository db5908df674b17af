"""The eyes of a face that speaks, looked at in some frames: where they are, and whether shut."""

from collections import deque
from collections.abc import Sequence

import numpy as np

from server.pictures.mesh import FaceMesh, find_meshes, follow_face
from server.pictures.portrait import Picture
from server.triton.engine import Engine

SHUT = 0.6
"""Eyes that are open by less than that part of what they usually are, are shut."""
REMEMBERED = 25
"""Looks by which it is known how far eyes usually are open."""


class EyeWatch:
    """Follows the largest face through the pictures of an utterance."""

    def __init__(self, engine: Engine) -> None:
        """Begins before the first picture.

        Args:
            engine: runs the networks of faces.
        """
        self._engine = engine
        self._opened: deque[float] = deque(maxlen=REMEMBERED)
        self.face: FaceMesh | None = None
        """As it was seen last; None where there is none."""

    def begin(self) -> None:
        """Says that other pictures follow, whose face is yet to be found."""
        self._opened.clear()
        self.face = None

    async def shut(self, pictures: Sequence[Picture]) -> list[bool]:
        """Tells of each of some pictures whether its eyes are shut; without a face none are.

        Args:
            pictures: one or more, uint8 [height, width, 3], in order and soon after each other.

        Raises:
            EngineUnavailableError, ExecutionError: a network cannot be run now.
        """
        if self.face is None:
            self.face = await self._found(pictures[0])
        if self.face is None:
            return [False] * len(pictures)
        meshes = await follow_face(self._engine, pictures, self.face)
        seen = [mesh for mesh in meshes if mesh is not None]
        self.face = seen[-1] if seen else await self._found(pictures[-1])
        return [mesh is not None and self._is_shut(mesh) for mesh in meshes]

    async def meshes(self, pictures: Sequence[Picture]) -> list[FaceMesh | None]:
        """Returns the face in each of some pictures; where it is lost, as in the one before.

        Raises:
            EngineUnavailableError, ExecutionError: a network cannot be run now.
        """
        last = self.face
        if last is None:
            return [None] * len(pictures)
        meshes: list[FaceMesh | None] = []
        for mesh in await follow_face(self._engine, pictures, last):
            last = mesh or last
            meshes.append(last)
        return meshes

    async def _found(self, picture: Picture) -> FaceMesh | None:
        faces = await find_meshes(self._engine, picture)
        return faces[0] if faces else None

    def _is_shut(self, mesh: FaceMesh) -> bool:
        opened = float(np.mean([eye.openness for eye in mesh.eyes]))
        self._opened.append(opened)
        return opened < SHUT * float(np.median(self._opened))
