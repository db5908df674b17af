"""The Wan 2.1 VAE between video and latents, over a whole window at once.

The authors' loop, and diffusers' AutoencoderKLWan, walk through a video in chunks and cache the
frames before each chunk. All convolutions are causal, so the same weights give the same numbers in
one pass over all frames. What is exported goes in chunks, too: see export/models/vae/chunks.py.
"""

import copy
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor, nn

from export.models.loading import load_strictly
from export.models.vae.layers import CausalConv, frames_first
from server.triton.contract import FRAMES_PER_LATENT

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


class Coder(nn.Module, ABC):
    """One way through the VAE: what is done to all frames at once, and a network in between.

    Only the network looks at frames before. To it frames are images, [B, T, C, H, W].
    """

    chunk_frames: int
    """Frames of the network's input that belong to one latent frame, but for the first."""
    network: nn.Module
    latents_mean: Tensor
    latents_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        # What Wan 2.1 normalises its latents by, as the library has it.
        defaults = inspect.signature(AutoencoderKLWan.__init__).parameters
        for name in ("latents_mean", "latents_std"):
            self.register_buffer(name, torch.tensor(defaults[name].default).view(1, -1, 1, 1, 1))

    @abstractmethod
    def enter(self, *inputs: Tensor) -> Tensor:
        """Returns what the network takes."""

    @abstractmethod
    def leave(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Returns the result of what the network gives."""


class VaeEncoder(Coder):
    """Video to the latents that the denoiser works on."""

    chunk_frames = FRAMES_PER_LATENT

    def __init__(self, vae: AutoencoderKLWan) -> None:
        super().__init__()
        self.network = frames_first(copy.deepcopy(vae.encoder))
        self.quant_conv = CausalConv(vae.quant_conv)

    def forward(self, known: Tensor, grey: Tensor) -> Tensor:
        """Encodes the video of a window, of which the first frames are known.

        Args:
            known: uint8 [B, K, H, W, 3]; H and W multiples of 8.
            grey: float32 [B, F - K], the level of every other frame in [-1, 1]; F = 4k + 1. The
                authors feed unknown frames to the VAE as 0.

        Returns:
            Latents, float32 [B, z, k + 1, H / 8, W / 8].
        """
        return self.leave(self.network(self.enter(known, grey)))

    def encode(self, video: Tensor) -> Tensor:
        """Encodes to the mode of the posterior, normalised per channel.

        Args:
            video: float32 [B, 3, F, H, W] in [-1, 1]; F = 4k + 1, H and W multiples of 8.

        Returns:
            Latents, float32 [B, z, k + 1, H / 8, W / 8].
        """
        return self.leave(self.network(self.frames(video)))

    def frames(self, video: Tensor) -> Tensor:
        """Takes video to frames."""
        return video.to(self.quant_conv.bias.dtype).transpose(1, 2)

    def enter(self, *inputs: Tensor) -> Tensor:
        """Takes the known pictures, and the levels of the others, to frames."""
        known, grey = inputs
        # To floats first: TensorRT has bytes at the borders of a graph only.
        pictures = known.float().permute(0, 1, 4, 2, 3) / 127.5 - 1
        levels = grey[:, :, None, None, None].expand(-1, -1, *pictures.shape[2:])
        return torch.cat((pictures, levels), dim=1).to(self.quant_conv.bias.dtype)

    def leave(self, x: Tensor) -> Tensor:
        """Takes features to latents."""
        moments = self.quant_conv(x).transpose(1, 2)
        mean, _log_variance = moments.float().chunk(2, dim=1)
        return (mean - self.latents_mean) / self.latents_std


class Decoder(Coder):
    """Latents to video."""

    chunk_frames = 1

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Decodes normalised latents.

        Args:
            latents: float32 [B, z, T, h, w].

        Returns:
            frames: uint8 [B, 4T - 3, 8h, 8w, 3]; truncated, not rounded, as EchoMimic V3 does
                when it writes a video.
            video: float32 [B, 3, 4T - 3, 8h, 8w], clamped to [-1, 1].
        """
        return self.leave(self.network(self.enter(latents)))

    def denormalised(self, latents: Tensor) -> Tensor:
        """Returns latents as the VAE has them, [B, z, T, h, w]."""
        return latents * self.latents_std + self.latents_mean

    def signal(self, x: Tensor) -> Tensor:
        """Takes what the network gives to [-1, 1], not clamped; keeps the shape."""
        return x.float()

    def leave(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Takes pictures to frames and video."""
        video = self.signal(x).clamp(-1, 1)
        levels = (video / 2 + 0.5).clamp(0, 1) * 255
        # To bytes last: TensorRT has them at the borders of a graph only.
        return levels.permute(0, 1, 3, 4, 2).to(torch.uint8), video.transpose(1, 2)


class VaeDecoder(Decoder):
    """The Wan VAE's own."""

    def __init__(self, vae: AutoencoderKLWan) -> None:
        super().__init__()
        self.post_quant_conv = CausalConv(vae.post_quant_conv)
        self.network = frames_first(copy.deepcopy(vae.decoder))

    def enter(self, *inputs: Tensor) -> Tensor:
        """Takes latents to frames of them."""
        (x,) = inputs
        latents = self.denormalised(x).transpose(1, 2)
        return self.post_quant_conv(latents.to(self.post_quant_conv.bias.dtype))
