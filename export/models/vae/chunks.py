"""The VAE in chunks: what it takes beside its weights grows with the picture, not with the window.

    opening    the first frame of the network's input alone, and what follows it
    step       one chunk more, with what the one before left
    closing    the network's output of all chunks

`export.onnx.loop` makes one graph of the three, which equals the plain pass of
`export.models.vae.coder` over all frames. What chunks leave to each other stays inside it: an
execution keeps no state.
"""

from torch import Tensor, nn

from export.models.vae.coder import Coder
from export.models.vae.past import run_chunk
from export.onnx.loop import Loop


class Opening(nn.Module):
    """The first chunk."""

    def __init__(self, coder: Coder) -> None:
        super().__init__()
        self.coder = coder

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Takes what the coder takes.

        Returns:
            The network's output of the first chunk, all further frames of its input, and what the
            chunk leaves to the next.
        """
        frames = self.coder.enter(*inputs)
        first, left = run_chunk(self.coder.network, frames[:, :1], None)
        return first, frames[:, 1:], *left


class Step(nn.Module):
    """Any later chunk."""

    def __init__(self, coder: Coder) -> None:
        super().__init__()
        self.coder = coder

    def forward(self, frames: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """Takes the frames of a chunk and what the one before left.

        Returns:
            The network's output of the chunk, and what it leaves to the next.
        """
        later, left = run_chunk(self.coder.network, frames, past)
        return later, *left


class Closing(nn.Module):
    """What is done to the network's whole output."""

    def __init__(self, coder: Coder) -> None:
        super().__init__()
        self.coder = coder

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Returns what the coder returns."""
        return self.coder.leave(x)


def in_chunks(coder: Coder) -> Loop:
    """Returns an encoder or decoder as the parts of a loop."""
    return Loop(Opening(coder), Step(coder), Closing(coder), coder.chunk_frames)
