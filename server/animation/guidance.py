"""Classifier-free guidance: one velocity out of several predictions of a step.

The network is asked for every branch of a step, one row each, and the differences between
the branches are exaggerated. Ho and Salimans 2022, https://arxiv.org/abs/2207.12598; the separate
scales for text and audio, and the rest, are compatible with upstream's two pipelines.
"""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Velocities = NDArray[np.floating[Any]]


class Branch(Enum):
    """What the network is given in one row."""

    SPEECH = "the prompt and the audio"
    SILENCE = "the prompt and zeros for the audio"
    NEGATIVE = "the negative prompt and zeros for the audio"


UNGUIDED = (Branch.SPEECH,)
AUDIO = (Branch.SPEECH, Branch.SILENCE)
"""Flash, in the order of upstream's calls."""
TEXT_AND_AUDIO = (Branch.NEGATIVE, Branch.SILENCE, Branch.SPEECH)
"""Preview, in the order of upstream's batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidance:
    """How strongly each condition is exaggerated; a scale of 1 follows it as it is.

    ``rows`` are the branches of a guided step, in batch order. A dynamic scale falls from its
    value to half of it. The first ``negative_steps + 1`` steps multiply the negative prompt's
    embeddings by ``negative_scale``. The last ``skip_ratio`` of the steps is not guided.
    """

    rows: tuple[Branch, ...]
    audio_scale: float = 1.0
    text_scale: float = 1.0
    dynamic_audio: bool = False
    dynamic_text: bool = False
    negative_scale: float = 1.0
    negative_steps: int = 0
    skip_ratio: float = 0.0


def branches(guidance: Guidance, step: int, steps: int) -> tuple[Branch, ...]:
    """Returns the branches that a step asks the network for, in batch order."""
    return UNGUIDED if step >= steps * (1 - guidance.skip_ratio) else guidance.rows


def guided(guidance: Guidance, velocities: Velocities, step: int, steps: int) -> Velocities:
    """Combines the predictions of a step.

    Args:
        guidance: the settings.
        velocities: [rows, 16, T, h, w], one row for each of ``branches(guidance, step, steps)``.
        step: the step, from 0.
        steps: how many steps the run has.

    Returns:
        The velocity [1, 16, T, h, w].

    Raises:
        ValueError: there is not one row a branch.
    """
    rows = branches(guidance, step, steps)
    if len(velocities) != len(rows):
        raise ValueError(f"{len(velocities)} velocities for {len(rows)} branches")
    velocity = {branch: velocities[row : row + 1] for row, branch in enumerate(rows)}
    speech = velocity[Branch.SPEECH]
    if rows == UNGUIDED:
        return speech
    silence = velocity[Branch.SILENCE]
    audio_scale = scale_at(guidance.audio_scale, guidance.dynamic_audio, step, steps)
    if rows == AUDIO:
        return silence + audio_scale * (speech - silence)
    negative = velocity[Branch.NEGATIVE]
    text_scale = scale_at(guidance.text_scale, guidance.dynamic_text, step, steps)
    return negative + text_scale * (silence - negative) + audio_scale * (speech - silence)


def scale_at(scale: float, dynamic: bool, step: int, steps: int) -> float:
    """Returns a scale at a step: itself, or if dynamic on its way down to half of itself."""
    if not dynamic:
        return scale
    left = (steps - step) / steps
    return scale / 2 * (1 + (1 - math.cos(math.pi * left**5)) / 2)


def negative_factor(guidance: Guidance, step: int) -> float:
    """Returns what the embeddings of the negative prompt are multiplied by at a step.

    Upstream scales them in place at every step up to and including ``negative_steps``, so that
    the factor grows and then stays.
    """
    return guidance.negative_scale ** min(step + 1, guidance.negative_steps + 1)
