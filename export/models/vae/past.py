"""What layers that look back in time remember between the chunks of a window.

A network runs over a whole window, or over its chunks one after the other: the first latent frame
alone, then the others. Between chunks each layer that looks back keeps the last frames that it was
given, as the authors' loop does. All of them are causal, so the numbers are the same.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Past:
    """The last frames that every layer that looks back was given, handed on from chunk to chunk.

    Layers take and leave them in the order in which they run, which is that of every chunk.
    """

    def __init__(self, frames: Sequence[Tensor] | None) -> None:
        """Begins a chunk.

        Args:
            frames: what the chunk before left; None for the first.
        """
        self.is_first = frames is None
        self.left: list[Tensor] = []
        """What this chunk leaves, in the same order."""
        self._frames = iter(frames or ())

    def precede(self, x: Tensor, count: int) -> Tensor:
        """Puts the frames before x [B, T, C, H, W] in front of it; zeros precede frame 0."""
        first = torch.zeros_like(x[:, :1]).expand(-1, count, -1, -1, -1)
        x = torch.cat([first if self.is_first else next(self._frames), x], dim=1)
        self.left.append(x[:, -count:])
        return x


class Remembering(nn.Module):
    """A layer that looks at frames before those that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.past: Past | None = None
        """What the chunks before have left; None for a pass over the whole window."""

    @property
    def starts(self) -> bool:
        """Whether what it is given begins with the window's first frame."""
        return self.past is None or self.past.is_first

    def precede(self, x: Tensor, count: int) -> Tensor:
        """Puts so many frames before x [B, T, C, H, W] in front of it; zeros precede frame 0."""
        if not count:
            return x
        if self.past is not None:
            return self.past.precede(x, count)
        return nn.functional.pad(x, (0, 0, 0, 0, 0, 0, count, 0))


def run_chunk(
    network: nn.Module, x: Tensor, past: Sequence[Tensor] | None
) -> tuple[Tensor, list[Tensor]]:
    """Runs a network of these layers over one chunk.

    Args:
        network: whose layers look back as `Remembering` ones do.
        x: [B, T, C, H, W]; T = 1 for the first chunk.
        past: what the chunk before left; None for the first.

    Returns:
        The output, and what this chunk leaves to the next: [B, 1 or 2, C', H', W'] each.
    """
    memory = Past(past)
    layers = [layer for layer in network.modules() if isinstance(layer, Remembering)]
    for layer in layers:
        layer.past = memory
    try:
        return network(x), memory.left
    finally:
        for layer in layers:
            layer.past = None
