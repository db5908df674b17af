"""The layers of the Wan VAE for [B, T, C, H, W], where a frame is an image.

They run over a whole window or over its chunks, see `export.models.vae.past`. What is special
about the first frame, which bypasses every temporal resampling, is written out in Downsample and
Upsample.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanAttentionBlock,
    WanCausalConv3d,
    WanResample,
    WanRMS_norm,
    WanUpsample,
)
from torch import Tensor, nn

from export.models.vae.past import Remembering


class CausalConv(Remembering):
    """A causal 3-D convolution of [B, T, C, H, W]: one 2-D convolution per temporal tap, summed.

    On a CPU 2-D convolutions are the faster ones. Laying the taps side by side in the channels of
    a single one is no faster still and holds the input three times. Taps into the past that are
    zero are left out.
    """

    def __init__(self, conv: WanCausalConv3d) -> None:
        super().__init__()
        self.time_stride = conv.stride[0]
        taps = conv.weight.unbind(2)
        present = len(taps) - 1
        # Where time is strided all taps stay, so that chunks begin where a stride does.
        past = [shift for shift in range(present) if self.time_stride > 1 or taps[shift].any()]
        self.past_frames = present - past[0] if past else 0
        self.shifts = [shift - present + self.past_frames for shift in (*past, present)]
        self.taps = nn.ParameterList(_frozen(taps[shift]) for shift in (*past, present))
        self.bias = _frozen(cast("Tensor", conv.bias))
        self.padding = (conv.kernel_size[1] // 2, conv.kernel_size[2] // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, T, C, H, W] to [B, ceil(T / time stride), C', H, W]; zeros precede frame 0."""
        batch, length = x.shape[:2]
        x = self.remember(x) if self.past is not None else self.precede(x, self.past_frames)
        shifted = [
            x[:, shift : shift + length : self.time_stride].flatten(0, 1) for shift in self.shifts
        ]
        out = nn.functional.conv2d(shifted[0], self.taps[0], self.bias, padding=self.padding)
        for frames, tap in zip(shifted[1:], self.taps[1:], strict=True):
            out = out + nn.functional.conv2d(frames, tap, padding=self.padding)
        return out.unflatten(0, (batch, -1))

    def remember(self, x: Tensor) -> Tensor:
        """Returns a chunk with what it needs of the chunks before, and keeps its own last frames.

        Each chunk ends where a stride does, so of the past a strided convolution needs less.
        """
        return self.precede(x, self.past_frames + 1 - self.time_stride)


class RmsNorm(nn.Module):
    """Root mean square normalisation over the channels of [B, T, C, H, W]."""

    def __init__(self, norm: WanRMS_norm) -> None:
        super().__init__()
        self.weight = _frozen((norm.gamma * norm.scale).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Keeps shape and type; sums the squares in float32, where they cannot overflow."""
        energy = x.float().square().sum(dim=2, keepdim=True)
        return x * (self.weight * energy.clamp_min(1e-24).rsqrt()).to(x.dtype)


class FrameAttention(nn.Module):
    """The attention within each frame of [B, T, C, H, W]."""

    def __init__(self, attention: WanAttentionBlock) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape."""
        return self.attention(x.transpose(1, 2)).transpose(1, 2)


class Nearest(nn.Module):
    """Doubles the sides of images, each pixel becoming four.

    The library's way of rounding becomes gathers by indices in float32; with whole factors it makes
    no difference, and this one is a single operator.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, C, H, W] to [B, C, 2H, 2W]."""
        return nn.functional.interpolate(x, scale_factor=2, mode="nearest")


class Downsample(nn.Module):
    """Halves the sides of [B, T, C, H, W] and, where the level has it, the time after frame 0."""

    def __init__(self, resample: WanResample) -> None:
        super().__init__()
        self.space = resample.resample
        self.time = CausalConv(resample.time_conv) if resample.mode == "downsample3d" else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, 2k + 1, C, H, W] to [B, k + 1, C, H / 2, W / 2], or keeps the time.

        A chunk after the first has 2k frames, which become k.
        """
        x = per_frame(self.space, x)
        if self.time is None:
            return x
        if self.time.past is not None:
            if not self.time.past.is_first:
                return self.time(x)
            self.time.remember(x)
            return x
        return torch.cat([x[:, :1], self.time(x)[:, 1:]], dim=1)


class Upsample(nn.Module):
    """Doubles the sides of [B, T, C, H, W] and, where the level has it, the time after frame 0."""

    def __init__(self, resample: WanResample) -> None:
        super().__init__()
        self.space = frames_first(resample.resample)
        self.time = CausalConv(resample.time_conv) if resample.mode == "upsample3d" else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, k + 1, C, H, W] to [B, 2k + 1, C / 2, 2H, 2W], or keeps the time.

        A chunk after the first has k frames, which become 2k.
        """
        if self.time is not None:
            x = self._double(self.time, x)
        return per_frame(self.space, x)

    @staticmethod
    def _double(time: CausalConv, x: Tensor) -> Tensor:
        def halves(frames: Tensor) -> Tensor:
            return time(frames).unflatten(2, (2, -1)).flatten(1, 2)

        # The frames after the first see zeros where it stands: it is kept out of their history.
        if time.past is None:
            first, later = x[:, :1], x[:, 1:]
            doubled = halves(torch.cat([torch.zeros_like(first), later], dim=1))
            return torch.cat([first, doubled[:, 2:]], dim=1)
        if not time.past.is_first:
            return halves(x)
        time.remember(torch.zeros_like(x))
        return x


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.contiguous(), requires_grad=False)


def per_frame(module: nn.Module, x: Tensor) -> Tensor:
    """Maps the images of [B, T, C, H, W], each by itself."""
    return module(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _resample(resample: WanResample) -> nn.Module:
    return Upsample(resample) if resample.mode.startswith("upsample") else Downsample(resample)


FRAMES_FIRST: Mapping[type[nn.Module], Callable[[Any], nn.Module]] = {
    WanCausalConv3d: CausalConv,
    WanRMS_norm: RmsNorm,
    WanAttentionBlock: FrameAttention,
    WanResample: _resample,
    WanUpsample: lambda _: Nearest(),
}


def frames_first(module: nn.Module) -> nn.Module:
    """Replaces, in place, each layer by its twin for [B, T, C, H, W], where a frame is an image."""
    if type(module) in FRAMES_FIRST:
        return FRAMES_FIRST[type(module)](module)
    for name, child in module.named_children():
        setattr(module, name, frames_first(child))
    return module
