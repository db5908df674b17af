"""A photograph that talks: an engine that shows it moving, in the place of a model that could."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from server.animation.face_warp import FaceWarp
from server.animation.idle_motion import Motion
from server.pictures.encoding import FrameEncoding, encode_picture
from server.pictures.mesh import find_meshes
from server.pictures.portrait import Picture
from server.triton.contract import Network
from tests.support.fake_engine import FakeEngine
from tests.support.paths import ROOT

HEAD_CROP = (100, 10, 356, 266)
"""Of the photograph: head and shoulders."""


def photograph(side: int) -> Picture:
    """Returns head and shoulders of the photograph, a square."""
    whole = Image.open(ROOT / "docs" / "media" / "photograph.jpg").convert("RGB")
    return np.asarray(whole.crop(HEAD_CROP).resize((side, side), Image.Resampling.LANCZOS))


def photograph_file(side: int) -> bytes:
    """Returns the same as a file."""
    return encode_picture(photograph(side), FrameEncoding.PNG, 0)


class TalkingPhotograph(FakeEngine):
    """Decodes whatever it is given to the photograph, whose head and gaze move."""

    def __init__(self, side: int, overlap: int, shut: Collection[int] = ()) -> None:
        """Begins with the first frame.

        Args:
            side: of the frames, in pixels.
            overlap: frames that a window shares with the one before.
            shut: numbers of the frames in which the eyes are shut, over all utterances.
        """
        super().__init__()
        self._side = side
        # Not while an event loop runs.
        _warp(side)
        self._overlap = overlap
        self._shut = shut
        self._next = 0

    async def run(self, network: Network, inputs: Any, *args: Any, **more: Any) -> Any:
        results = await super().run(network, inputs, *args, **more)
        if network.name != "vae_decoder":
            return results
        frames = len(results["frames"][0])
        first, self._next = self._next, self._next + frames - self._overlap
        numbers = range(first, first + frames)
        pictures = [moved(self._side, n, is_shut=n in self._shut) for n in numbers]
        return {"frames": np.stack(pictures)[None]}


@cache
def moved(side: int, number: int, *, is_shut: bool) -> Picture:
    """Returns a frame; the first one of a size may not be asked for while an event loop runs."""
    pose = Motion(7).pose(number / 25, blinks=False)
    return _warp(side).draw(replace(pose, closure=float(is_shut)))


@cache
def _warp(side: int) -> FaceWarp:
    picture = photograph(side)
    (mesh,) = asyncio.run(find_meshes(FakeEngine(), picture))
    return FaceWarp(picture, mesh)
