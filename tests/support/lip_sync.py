"""Whether a drawn face talks: its mouth is read from the frames and compared with the sound.

The face is known, so how far its mouth is open is read by drawing it with every mouth and taking
the drawing nearest to the frame. How far it should be open is the rule that the recording follows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.demo.faces import Face
from export.demo.mouths import motion

Pictures = NDArray[np.uint8]
FloatArray = NDArray[np.floating]

OPENINGS = np.linspace(0, 1, 26)
WIDTHS = np.linspace(0, 1, 6)
MAX_LAG = 8
SHUT, TALKING = 0.01, 0.1
"""True openings at most and at least so large are silence and speech."""


@dataclass(frozen=True, slots=True)
class LipSync:
    """The figures of one clip.

    Attributes:
        correlation: Pearson's, of the openings seen and true.
        lag_frames: by which the mouth follows the sound, where the correlation is highest.
        silence_opening: mean opening seen in silence, 1 is wide open.
        speech_opening: the same in speech.
        psnr_db: outside the mouth, against the portrait.
        flicker: mean difference of consecutive frames outside the mouth, in levels of 255.
        seam_jump: mean difference of consecutive frames where windows overlap, over that elsewhere.
    """

    correlation: float
    lag_frames: int
    silence_opening: float
    speech_opening: float
    psnr_db: float
    flicker: float
    seam_jump: float

    @property
    def silence_share(self) -> float:
        """Opening in silence, as a share of that in speech; a mouth that never opens has none."""
        if self.speech_opening == 0:
            return math.inf
        return self.silence_opening / self.speech_opening


def lip_sync(
    face: Face,
    samples: NDArray[np.floating],
    frames: Pictures,
    seams: Sequence[int],
    portrait: Pictures,
) -> LipSync:
    """Measures a clip.

    Args:
        face: whose face it should be.
        samples: what should be said, 16 kHz, full scale 1.
        frames: [frames, height, width, 3], from the first sample on.
        seams: the steps from frame n to n + 1 at which windows overlap, by n.
        portrait: what the server was shown, at the size of a frame.
    """
    true = motion(samples).openings[: len(frames)]
    seen = openings(face, frames)
    still = frames[:, _outside(face, portrait)].astype(np.float64)
    steps = np.abs(np.diff(frames.astype(np.float64), axis=0)).mean(axis=(1, 2, 3))
    at_seam = np.isin(np.arange(len(steps)), seams)
    return LipSync(
        correlation=correlation(seen, true, 0),
        lag_frames=max(range(-MAX_LAG, MAX_LAG + 1), key=lambda lag: correlation(seen, true, lag)),
        silence_opening=float(seen[true <= SHUT].mean()),
        speech_opening=float(seen[true >= TALKING].mean()),
        psnr_db=outside_db(face, frames, portrait),
        flicker=float(np.abs(np.diff(still, axis=0)).mean()),
        seam_jump=float(steps[at_seam].mean() / steps[~at_seam].mean()),
    )


def outside_db(face: Face, frames: Pictures, portrait: Pictures) -> float:
    """Returns the PSNR of frames against the portrait, outside the mouth."""
    outside = _outside(face, portrait)
    error = (frames[:, outside].astype(np.float64) - portrait[outside]) / 255
    return float(-10 * np.log10(np.square(error).mean()))


def _outside(face: Face, portrait: Pictures) -> NDArray[np.bool_]:
    outside = np.ones(portrait.shape[:2], bool)
    outside[face.mouth_box] = False
    return outside


def openings(face: Face, frames: Pictures) -> FloatArray:
    """Returns how far the mouth is open in each frame, 0 closed to 1 wide open."""
    every = np.stack(np.meshgrid(OPENINGS, WIDTHS, indexing="ij"), axis=-1).reshape(-1, 2)
    drawn = face.mouths(every[:, 0].tolist(), every[:, 1].tolist()).reshape(len(every), -1)
    drawn = drawn.astype(np.float64)
    seen = frames[:, *face.mouth_box].reshape(len(frames), -1).astype(np.float64)
    distance = np.square(drawn).sum(axis=1) - 2 * seen @ drawn.T
    nearest = distance.reshape(len(frames), len(OPENINGS), len(WIDTHS)).min(axis=2)
    return OPENINGS[nearest.argmin(axis=1)]


def correlation(seen: FloatArray, true: FloatArray, lag: int) -> float:
    """Returns Pearson's correlation, where what is seen comes ``lag`` frames after the sound."""
    count = min(len(seen), len(true))
    seen, true = seen[max(0, lag) : count + min(0, lag)], true[max(0, -lag) : count - max(0, lag)]
    if seen.std() == 0 or true.std() == 0:
        return 0.0
    return float(np.corrcoef(seen, true)[0, 1])
