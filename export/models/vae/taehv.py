"""TAEHV, a small decoder for the latents of the Wan VAE: taew2_1 and lighttaew2_1.

Written after madebyollin/taehv's ``taehv.py``, whose names the tensors have. Latents become frames
by a network of three stages. In each, three blocks look one frame back, then the sides double, and
in the second and third the frames, too. The last stage gives four frames for every latent frame; of
those of the first, the authors drop all but the last, and here only that one is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from export.checkpoint.errors import CheckpointMismatchError
from export.models.loading import load_strictly
from export.models.vae.coder import Decoder
from export.models.vae.layers import Nearest, per_frame
from export.models.vae.past import Remembering
from server.triton.contract import FRAMES_PER_LATENT, LATENT_CHANNELS

CLAMP = 3.0
STAGE_FRAMES = (1, 2, 2)
"""By how much each stage multiplies the frames."""
ENCODER = "encoder."
DECODER = "decoder."
BLOCKS = 3
FIRST, GROWS, LAST = "1.weight", tuple(f"{index}.conv.weight" for index in (7, 13, 19)), "22.weight"
"""The tensors that tell the sizes."""


@dataclass(frozen=True, slots=True)
class TaehvSizes:
    """How wide the stages are, and the last convolution; those of the published file by default.

    Attributes:
        widths: channels of the three stages and of what they give.
        patch: pixels that are laid out in the channels of the last convolution, along a side: 1,
            2 or 4. As many doublings are left out, of the last stages.
    """

    widths: tuple[int, int, int, int] = (256, 128, 64, 64)
    patch: int = 1

    @property
    def doubles(self) -> list[bool]:
        """Which stages double the sides."""
        doubled = len(STAGE_FRAMES) - (self.patch.bit_length() - 1)
        return [stage < doubled for stage in range(len(STAGE_FRAMES))]


class Clamp(nn.Module):
    """Keeps latents within what the network knows."""

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape; nothing leaves [-3, 3]."""
        return torch.tanh(x / CLAMP) * CLAMP


class MemoryBlock(Remembering):
    """Three convolutions of a frame and the one before it, added to the frame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(2 * width, width),
            nn.ReLU(),
            _conv(width, width),
            nn.ReLU(),
            _conv(width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape, [B, T, C, H, W]."""
        before = self.precede(x, 1)[:, :-1]
        return (per_frame(self.conv, torch.cat([x, before], dim=2)) + x).relu()


class Grow(Remembering):
    """Several frames of each, less those that the window begins before."""

    def __init__(self, width: int, frames: int, dropped: int) -> None:
        super().__init__()
        self.frames = frames
        self.dropped = dropped
        self.conv = nn.Conv2d(width, width * frames, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, T, C, H, W] to [B, frames * T, C, H, W]; the first frame's are fewer."""
        grown = per_frame(self.conv, x).unflatten(2, (self.frames, -1)).flatten(1, 2)
        return grown[:, self.dropped :] if self.dropped and self.starts else grown


class PerFrame(nn.Module):
    """A layer of images, for [B, T, C, H, W]; its tensors have the layer's own names."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Maps each frame by itself."""
        return per_frame(self.layer, x)


def build_taehv(sizes: TaehvSizes) -> nn.Sequential:
    """Builds the decoder's network, whose layers stand where those of the authors do."""
    widths, last = sizes.widths, len(STAGE_FRAMES) - 1
    layers: list[nn.Module] = [Clamp(), PerFrame(_conv(LATENT_CHANNELS, widths[0])), nn.ReLU()]
    for stage, frames in enumerate(STAGE_FRAMES):
        width, next_width = widths[stage : stage + 2]
        layers += [MemoryBlock(width) for _ in range(BLOCKS)]
        layers += [
            PerFrame(Nearest()) if sizes.doubles[stage] else nn.Identity(),
            Grow(width, frames, dropped=FRAMES_PER_LATENT - 1 if stage == last else 0),
            PerFrame(_conv(width, next_width, bias=False)),
        ]
    layers += [nn.ReLU(), PerFrame(_conv(widths[-1], 3 * sizes.patch**2))]
    if sizes.patch > 1:
        layers.append(nn.PixelShuffle(sizes.patch))
    return nn.Sequential(*layers)


def public_tensors(network: nn.Sequential) -> dict[str, Tensor]:
    """Returns the tensors of a decoder as its file has them."""
    return {_public_key(key): tensor for key, tensor in network.state_dict().items()}


def load_taehv(tensors: Mapping[str, Tensor]) -> nn.Sequential:
    """Builds the network from the tensors of a file; those of its encoder are of no use here.

    Raises:
        CheckpointMismatchError: a tensor is missing, unknown or of another shape.
    """
    own = {key: tensor for key, tensor in tensors.items() if not key.startswith(ENCODER)}
    sizes = _sizes(own)
    with torch.device("meta"):
        network = build_taehv(sizes)
    for key, frames, width in zip(GROWS, STAGE_FRAMES, sizes.widths, strict=False):
        # The authors let a stage give fewer frames than it was trained for: the later ones.
        own[DECODER + key] = own[DECODER + key][-frames * width :]
    keys = {_public_key(key): key for key in network.state_dict()}
    renamed = {keys.get(key, key): tensor for key, tensor in own.items()}
    load_strictly(network, renamed, _public_key)
    return network.eval().requires_grad_(False)


class TaehvDecoder(Decoder):
    """Latents to video.

    Args:
        network: such as `load_taehv` returns.
        raw_latents: whether it takes latents as the VAE has them, not the normalised ones.
    """

    chunk_frames = 1

    def __init__(self, network: nn.Sequential, *, raw_latents: bool = False) -> None:
        super().__init__()
        self.network = network
        self.raw_latents = raw_latents

    def enter(self, *inputs: Tensor) -> Tensor:
        """Takes latents to frames of them."""
        (x,) = inputs
        latents = self.denormalised(x) if self.raw_latents else x
        return latents.transpose(1, 2).to(next(self.network.parameters()).dtype)

    def signal(self, x: Tensor) -> Tensor:
        """Takes pictures in [0, 1] to [-1, 1], not clamped."""
        return 2 * x.float() - 1


def _sizes(tensors: Mapping[str, Tensor]) -> TaehvSizes:
    wanted = [DECODER + key for key in (FIRST, *GROWS, LAST)]
    if missing := [key for key in wanted if key not in tensors or tensors[key].ndim != 4]:
        raise CheckpointMismatchError(f"no TAEHV, which has {', '.join(missing)}")
    grows, last = (tensors[DECODER + key] for key in GROWS), tensors[DECODER + LAST]
    widths: Any = (*(grow.shape[1] for grow in grows), last.shape[1])
    patches = {3 * patch**2: patch for patch in (1, 2, 4)}
    if last.shape[0] not in patches:
        raise CheckpointMismatchError(
            f"{DECODER}{LAST} has {last.shape[0]} outputs, not 3 colours of 1, 4 or 16 pixels"
        )
    return TaehvSizes(widths, patches[last.shape[0]])


def _public_key(key: str) -> str:
    return DECODER + key.replace(".layer.", ".")


def _conv(inputs: int, outputs: int, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
