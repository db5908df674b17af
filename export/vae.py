"""The Wan 2.1 VAE between video and latents, over a whole window at once.

The authors' loop, and diffusers' AutoencoderKLWan, walk through a video in chunks and cache the
frames before each chunk. All convolutions are causal, so the same weights give the same numbers in
one pass over all frames, which is a plain graph of any length. What the caches do beyond that, the
first frame bypassing every temporal resampling, is written out in Downsample and Upsample.
"""

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    AutoencoderKLWan,
    WanAttentionBlock,
    WanCausalConv3d,
    WanResample,
    WanRMS_norm,
)
from torch import Tensor, nn

from export.weights import load_strictly

PUBLIC_SIZES: Mapping[str, Any] = {
    "dim": 96,
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_scales": [],
    "temperal_downsample": [False, True, True],
}
"""Sizes of Wan2.1_VAE.pth, in the words of Wan2.1's ``wan/modules/vae.py``."""

# From the library's keys to the checkpoint's, in this order.
RENAMES = (
    (r"\.norm1\.", ".residual.0."),
    (r"\.conv1\.", ".residual.2."),
    (r"\.norm2\.", ".residual.3."),
    (r"\.conv2\.", ".residual.6."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
    (r"\.conv_in\.", ".conv1."),
    (r"\.down_blocks\.", ".downsamples."),
    (r"\.mid_block\.resnets\.0\.", ".middle.0."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."),
    (r"\.mid_block\.resnets\.1\.", ".middle.2."),
    (r"\.norm_out\.", ".head.0."),
    (r"\.conv_out\.", ".head.2."),
)
UP_BLOCK = r"\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\."


def build_vae(sizes: Mapping[str, Any] = PUBLIC_SIZES) -> AutoencoderKLWan:
    """Builds a VAE without weights worth keeping.

    Args:
        sizes: those that differ from the public ones, under the keys of ``PUBLIC_SIZES``.
    """
    sizes = {**PUBLIC_SIZES, **sizes}
    vae = AutoencoderKLWan(
        base_dim=sizes["dim"],
        z_dim=sizes["z_dim"],
        dim_mult=sizes["dim_mult"],
        num_res_blocks=sizes["num_res_blocks"],
        attn_scales=sizes["attn_scales"],
        temperal_downsample=sizes["temperal_downsample"],
    )
    return vae.eval().requires_grad_(False)


def public_tensors(vae: AutoencoderKLWan) -> dict[str, Tensor]:
    """Returns the tensors of a VAE as the checkpoint has them."""
    return {_public_key(vae, key): tensor for key, tensor in vae.state_dict().items()}


def load_vae(
    state_dict: Mapping[str, Tensor], sizes: Mapping[str, Any] = PUBLIC_SIZES
) -> AutoencoderKLWan:
    """Builds the VAE from the tensors of ``Wan2.1_VAE.pth``, which it keeps without a copy.

    Args:
        state_dict: the tensors under their public names, without a ``model.`` prefix.
        sizes: those that differ from the public ones, under the keys of ``PUBLIC_SIZES``.

    Raises:
        CheckpointMismatchError: a tensor is missing, unknown or of another shape.
    """
    with torch.device("meta"):
        vae = build_vae(sizes)
    library_keys = {_public_key(vae, key): key for key in vae.state_dict()}
    renamed = {library_keys.get(key, key): tensor for key, tensor in state_dict.items()}
    load_strictly(vae, renamed, lambda key: _public_key(vae, key))
    return vae.eval().requires_grad_(False)


def _public_key(vae: AutoencoderKLWan, key: str) -> str:
    for pattern, replacement in RENAMES:
        key = re.sub(pattern, replacement, key)
    # The checkpoint lists the blocks of all levels in one row: the blocks, then the resampler.
    blocks = vae.config["num_res_blocks"] + 1

    def place(match: re.Match[str]) -> str:
        level, kind, index = match.groups()
        within = int(index) if kind == "resnets" else blocks
        return f".upsamples.{int(level) * (blocks + 1) + within}."

    return re.sub(UP_BLOCK, place, key)


class VaeEncoder(nn.Module):
    """Video to the latents that the denoiser works on."""

    latents_mean: Tensor
    latents_std: Tensor

    def __init__(self, vae: AutoencoderKLWan) -> None:
        super().__init__()
        self.encoder = _frames_first(copy.deepcopy(vae.encoder))
        self.quant_conv = CausalConv(vae.quant_conv)
        _register_statistics(self, vae)

    def forward(self, video: Tensor) -> Tensor:
        """Encodes to the mode of the posterior, normalised per channel.

        Args:
            video: float32 [B, 3, F, H, W] in [-1, 1]; F = 4k + 1, H and W multiples of 8.

        Returns:
            Latents, float32 [B, z, k + 1, H / 8, W / 8].
        """
        video = video.to(self.quant_conv.bias.dtype).transpose(1, 2)
        moments = self.quant_conv(self.encoder(video)).transpose(1, 2)
        mean, _log_variance = moments.float().chunk(2, dim=1)
        return (mean - self.latents_mean) / self.latents_std


class VaeDecoder(nn.Module):
    """Latents to video."""

    latents_mean: Tensor
    latents_std: Tensor

    def __init__(self, vae: AutoencoderKLWan) -> None:
        super().__init__()
        self.post_quant_conv = CausalConv(vae.post_quant_conv)
        self.decoder = _frames_first(copy.deepcopy(vae.decoder))
        _register_statistics(self, vae)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Decodes normalised latents.

        Args:
            latents: float32 [B, z, T, h, w].

        Returns:
            frames: uint8 [B, 4T - 3, 8h, 8w, 3]; truncated, not rounded, as EchoMimic V3 does
                when it writes a video.
            video: float32 [B, 3, 4T - 3, 8h, 8w], clamped to [-1, 1].
        """
        latents = (latents * self.latents_std + self.latents_mean).transpose(1, 2)
        latents = self.post_quant_conv(latents.to(self.post_quant_conv.bias.dtype))
        video = self.decoder(latents).float().clamp(-1, 1)
        levels = (video / 2 + 0.5).clamp(0, 1) * 255
        # To bytes last: TensorRT has them at the borders of a graph only.
        return levels.permute(0, 1, 3, 4, 2).to(torch.uint8), video.transpose(1, 2)


def _register_statistics(module: nn.Module, vae: AutoencoderKLWan) -> None:
    for name in ("latents_mean", "latents_std"):
        module.register_buffer(name, torch.tensor(vae.config[name]).view(1, -1, 1, 1, 1))


class CausalConv(nn.Module):
    """A causal 3-D convolution of [B, T, C, H, W]: one 2-D convolution per temporal tap, summed.

    On a CPU 2-D convolutions are the faster ones. Laying the taps side by side in the channels of
    a single one is no faster still and holds the input three times. Taps into the past that are
    zero are left out.
    """

    def __init__(self, conv: WanCausalConv3d) -> None:
        super().__init__()
        taps = conv.weight.unbind(2)
        present = len(taps) - 1
        past = [shift for shift in range(present) if taps[shift].any()]
        self.past_frames = present - past[0] if past else 0
        self.shifts = [shift - present + self.past_frames for shift in (*past, present)]
        self.taps = nn.ParameterList(_frozen(taps[shift]) for shift in (*past, present))
        self.bias = _frozen(cast("Tensor", conv.bias))
        self.time_stride = conv.stride[0]
        self.padding = (conv.kernel_size[1] // 2, conv.kernel_size[2] // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, T, C, H, W] to [B, ceil(T / time stride), C', H, W]; zeros precede frame 0."""
        batch, length = x.shape[:2]
        if self.past_frames:
            x = nn.functional.pad(x, (0, 0, 0, 0, 0, 0, self.past_frames, 0))
        shifted = [
            x[:, shift : shift + length : self.time_stride].flatten(0, 1) for shift in self.shifts
        ]
        out = nn.functional.conv2d(shifted[0], self.taps[0], self.bias, padding=self.padding)
        for frames, tap in zip(shifted[1:], self.taps[1:], strict=True):
            out = out + nn.functional.conv2d(frames, tap, padding=self.padding)
        return out.unflatten(0, (batch, -1))


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


class Downsample(nn.Module):
    """Halves the sides of [B, T, C, H, W] and, where the level has it, the time after frame 0."""

    def __init__(self, resample: WanResample) -> None:
        super().__init__()
        self.space = resample.resample
        self.time = CausalConv(resample.time_conv) if resample.mode == "downsample3d" else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, 2k + 1, C, H, W] to [B, k + 1, C, H / 2, W / 2], or keeps the time."""
        x = _per_frame(self.space, x)
        if self.time is None:
            return x
        return torch.cat([x[:, :1], self.time(x)[:, 1:]], dim=1)


class Upsample(nn.Module):
    """Doubles the sides of [B, T, C, H, W] and, where the level has it, the time after frame 0."""

    def __init__(self, resample: WanResample) -> None:
        super().__init__()
        self.space = resample.resample
        self.time = CausalConv(resample.time_conv) if resample.mode == "upsample3d" else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, k + 1, C, H, W] to [B, 2k + 1, C / 2, 2H, 2W], or keeps the time."""
        if self.time is not None:
            first, later = x[:, :1], x[:, 1:]
            # The frames after the first see zeros where it stands: it is kept out of their history.
            pairs = self.time(torch.cat([torch.zeros_like(first), later], dim=1))
            doubled = pairs.unflatten(2, (2, -1)).flatten(1, 2)
            x = torch.cat([first, doubled[:, 2:]], dim=1)
        return _per_frame(self.space, x)


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.contiguous(), requires_grad=False)


def _per_frame(module: nn.Module, x: Tensor) -> Tensor:
    return module(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _resample(resample: WanResample) -> nn.Module:
    return Upsample(resample) if resample.mode.startswith("upsample") else Downsample(resample)


FRAMES_FIRST: Mapping[type[nn.Module], Callable[[Any], nn.Module]] = {
    WanCausalConv3d: CausalConv,
    WanRMS_norm: RmsNorm,
    WanAttentionBlock: FrameAttention,
    WanResample: _resample,
}


def _frames_first(module: nn.Module) -> nn.Module:
    """Replaces, in place, each layer by its twin for [B, T, C, H, W], where a frame is an image."""
    if type(module) in FRAMES_FIRST:
        return FRAMES_FIRST[type(module)](module)
    for name, child in module.named_children():
        setattr(module, name, _frames_first(child))
    return module
