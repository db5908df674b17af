"""A network as it is exported: a module, and inputs to try it on."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from export.onnx.loop import Loop
from export.onnx.opsets import OLDEST, Opset
from server.triton.contract import FRAMES_PER_LATENT, LATENT_CHANNELS, PIXELS_PER_LATENT, Network

Inputs = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Shape:
    """The lengths of one call: a batch, latent frames, latent rows and columns."""

    batch: int
    frames: int
    height: int
    width: int

    @property
    def video_frames(self) -> int:
        """The video frames that the latent frames stand for."""
        return (self.frames - 1) * FRAMES_PER_LATENT + 1

    @property
    def latents(self) -> tuple[int, ...]:
        """The shape of latents."""
        return (self.batch, LATENT_CHANNELS, self.frames, self.height, self.width)

    @property
    def picture(self) -> tuple[int, int]:
        """Rows and columns of pixels."""
        return (self.height * PIXELS_PER_LATENT, self.width * PIXELS_PER_LATENT)


@dataclass(frozen=True, slots=True)
class Exportable:
    """A network as a module, and fresh random inputs of a shape for it, in the module's order.

    With a ``loop`` its parts are exported in the module's place, which they equal. ``opset`` is
    what the file is to have.
    """

    network: Network
    module: nn.Module
    inputs: Callable[[Shape], Inputs]
    loop: Loop | None = None
    opset: Opset = OLDEST


Build = Callable[..., Exportable]
"""Builds one network of a checkpoint, its large weights in the precision that was asked for.

In fp8 the denoiser takes ``largest_inputs`` and ``fp8_scale``, too.
"""
