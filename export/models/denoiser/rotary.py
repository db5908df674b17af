"""Rotary position embedding over latent frames, rows and columns, in real numbers.

RoFormer (https://arxiv.org/abs/2104.09864) with the channels of a head shared among three axes, as
in Wan 2.1. Compatible with ``rope_params`` and ``rope_apply`` of ``wan_transformer3d_audio*.py``.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from export.models.denoiser.config import Riflex

THETA = 10_000
POSITIONS = 1024
"""The longest axis, in tokens."""
RIFLEX_SLOWDOWN = 4.886
RIFLEX_PERIOD_SHARE = 0.9
"""A video fills this share of one period, to stay clear of the repetition."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """What each token is turned by: cosines and sines, both [tokens, head_dim / 2].

    ``as_operator`` makes one ONNX operator of it, which opset 23 has.
    """

    cos: Tensor
    sin: Tensor
    as_operator: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """Turns neighbouring channels of ``x``, [batch, tokens, heads, head_dim] in float32."""
        if self.as_operator:
            batch, tokens, heads, head_dim = x.shape
            # TensorRT wants to know the last length beforehand.
            tables = (t.expand(batch, tokens, head_dim // 2) for t in (self.cos, self.sin))
            turned = torch.onnx.ops.rotary_embedding(
                x.flatten(2), *tables, interleaved=True, num_heads=heads
            )
            return turned.unflatten(-1, (heads, head_dim))
        even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
        cos, sin = self.cos[:, None], self.sin[:, None]
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


def axis_widths(head_dim: int) -> tuple[int, int, int]:
    """Returns how many channel pairs of a head serve time, rows and columns."""
    spatial = head_dim // 6
    return head_dim // 2 - 2 * spatial, spatial, spatial


def angles(head_dim: int, riflex: Riflex | None = None) -> Tensor:
    """Returns the angle of every position, the axes side by side.

    Args:
        head_dim: width of one attention head.
        riflex: changes one of the temporal frequencies.

    Returns:
        float64 [POSITIONS, head_dim / 2].
    """
    time, rows, columns = (
        THETA ** -(np.arange(width, dtype=np.float64) / width) for width in axis_widths(head_dim)
    )
    if riflex:
        period = RIFLEX_SLOWDOWN * riflex.latent_frames / RIFLEX_PERIOD_SHARE
        time[riflex.k - 1] = 2 * math.pi / period
    # NumPy, because a torch factory would obey the meta device that models are built on.
    return torch.from_numpy(np.outer(np.arange(POSITIONS), np.concatenate((time, rows, columns))))


def spread(table: Tensor, head_dim: int, grid: tuple[int, int, int]) -> Tensor:
    """Returns the rows of a table for every token of a grid.

    Args:
        table: [POSITIONS, head_dim / 2], the axes side by side.
        head_dim: width of one attention head.
        grid: tokens along time, rows and columns, none above POSITIONS.

    Returns:
        [time * rows * columns, head_dim / 2].
    """
    time, rows, columns = table.split(axis_widths(head_dim), dim=1)
    frames, height, width = grid
    axes = (
        time[:frames, None, None].expand(-1, height, width, -1),
        rows[None, :height, None].expand(frames, -1, width, -1),
        columns[None, None, :width].expand(frames, height, -1, -1),
    )
    return torch.cat(axes, dim=-1).flatten(0, 2)
