"""The layers of the denoiser: attention, transformer block and head of Wan 2.1, with audio.

Linear layers inside the blocks may be in half precision. Norms, modulation, rotary embedding and
the stream from block to block are in float32: each layer casts what it is given to its own type.

Compatible with ``wan_transformer3d_audio_2512.py`` (flash) and ``wan_transformer3d_audio.py``
(preview) of EchoMimic V3, where there is no flash-attn: padding is attended to.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from export.models.denoiser.config import DenoiserConfig
from export.models.denoiser.rotary import Rotation
from export.models.layers import LayerNorm, Linear


@dataclass(frozen=True, slots=True)
class Context:
    """What cross-attention looks at.

    Attributes:
        text: [batch, text_len, dim], or fewer rows, each for so many of the batch as ``shared``
            says first.
        image: [batch, image_tokens, dim], likewise by the second of ``shared``.
        audio: [batch, latent_frames, audio_tokens, dim]; a latent frame sees its own only.
        audio_weight: how strongly audio acts, [batch, 1, tokens of a latent frame, 1]; None is 1.
        shared: how many rows of the batch, one after the other, share a text, and an image.
    """

    text: Tensor
    image: Tensor
    audio: Tensor
    audio_weight: Tensor | None = None
    shared: tuple[int, int] = (1, 1)


def repeated(x: Tensor, times: int) -> Tensor:
    """Returns [batch * times, ...], each row of [batch, ...] so many times."""
    return x.unsqueeze(1).expand(-1, times, *[-1] * (x.ndim - 1)).flatten(0, 1)


class RMSNorm(nn.Module):
    """Root-mean-square norm (https://arxiv.org/abs/1910.07467) in float32.

    Spelled out, since not every ONNX opset has the operator.
    """

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last dimension, all heads together."""
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention in the type of the values.

    Args:
        query: [batch, queries, heads, head_dim].
        key: [batch, keys, heads, head_dim].
        value: [batch, keys, heads, head_dim].

    Returns:
        [batch, queries, heads * head_dim].
    """
    query, key, value = (x.to(value.dtype).transpose(1, 2) for x in (query, key, value))
    return scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Every token of a window looks at every other."""

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        dim = config.dim
        self.heads = (config.num_heads, config.head_dim)
        self.q, self.k, self.v, self.o = (Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = (RMSNorm(dim, config.eps) for _ in range(2))

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """Maps tokens [batch, tokens, dim] to the same shape."""
        query = rotation(self.norm_q(self.q(x)).unflatten(-1, self.heads))
        key = rotation(self.norm_k(self.k(x)).unflatten(-1, self.heads))
        return self.o(attend(query, key, self.v(x).unflatten(-1, self.heads)))


class CrossAttention(nn.Module):
    """Tokens look at text, image and audio with one query; the sum is projected once."""

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        dim, flash = config.dim, config.variant == "flash"
        self.heads = (config.num_heads, config.head_dim)
        self.q, self.k, self.v, self.o = (Linear(dim, dim) for _ in range(4))
        self.k_img, self.v_img = (Linear(dim, dim) for _ in range(2))
        self.k_audio, self.v_audio = (Linear(dim, dim, bias=flash) for _ in range(2))
        if flash:
            # The checkpoint has it and the authors discard its result, so it is never called.
            self.q_audio = Linear(dim, dim)
        self.norm_q, self.norm_k = (RMSNorm(dim, config.eps) for _ in range(2))
        self.norm_k_img, self.norm_k_audio = (RMSNorm(dim, config.eps) for _ in range(2))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Maps tokens [batch, tokens, dim] to the same shape."""
        query = self.norm_q(self.q(x)).unflatten(-1, self.heads)
        text, image = context.text, context.image
        for_text, for_image = context.shared
        text = attend(
            query,
            self._spread(self.norm_k(self.k(text)), for_text),
            self._spread(self.v(text), for_text),
        )
        image = attend(
            query,
            self._spread(self.norm_k_img(self.k_img(image)), for_image),
            self._spread(self.v_img(image), for_image),
        )
        return self.o(text + image + self._attend_audio(query, context))

    def _spread(self, x: Tensor, times: int) -> Tensor:
        """Returns keys or values by head, for so many rows each."""
        return repeated(x.unflatten(-1, self.heads), times)

    def _attend_audio(self, query: Tensor, context: Context) -> Tensor:
        batch, frames = context.audio.shape[:2]
        audio = context.audio.flatten(0, 1)
        attended = attend(
            query.unflatten(1, (frames, -1)).flatten(0, 1),
            self.norm_k_audio(self.k_audio(audio)).unflatten(-1, self.heads),
            self.v_audio(audio).unflatten(-1, self.heads),
        )
        attended = attended.unflatten(0, (batch, frames))
        if context.audio_weight is not None:
            attended = attended * context.audio_weight
        return attended.flatten(1, 2)


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward, the outer two modulated by time.

    Adaptive layer norm of DiT (https://arxiv.org/abs/2212.09748).
    """

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        dim, eps = config.dim, config.eps
        self.norm1 = LayerNorm(dim, eps, elementwise_affine=False)
        self.self_attn = SelfAttention(config)
        self.norm3 = LayerNorm(dim, eps)
        self.cross_attn = CrossAttention(config)
        self.norm2 = LayerNorm(dim, eps, elementwise_affine=False)
        self.ffn = nn.Sequential(
            Linear(dim, config.ffn_dim), nn.GELU(approximate="tanh"), Linear(config.ffn_dim, dim)
        )
        self.modulation = nn.Parameter(torch.empty(1, 6, dim))

    def forward(self, x: Tensor, time: Tensor, rotation: Rotation, context: Context) -> Tensor:
        """Maps tokens [batch, tokens, dim] to the same shape.

        Args:
            x: float32 tokens.
            time: the time modulation, float32 [batch, 6, dim].
            rotation: the positions of the tokens.
            context: what cross-attention looks at.
        """
        modulation = (self.modulation + time).chunk(6, dim=1)
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = modulation
        x = x + gate * self.self_attn(self.norm1(x) * (1 + scale) + shift, rotation)
        x = x + self.cross_attn(self.norm3(x), context)
        return x + ffn_gate * self.ffn(self.norm2(x) * (1 + ffn_scale) + ffn_shift)


class Head(nn.Module):
    """Tokens to the velocity of their patches."""

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        self.norm = LayerNorm(config.dim, config.eps, elementwise_affine=False)
        self.head = Linear(config.dim, config.out_dim * math.prod(config.patch_size))
        self.modulation = nn.Parameter(torch.empty(1, 2, config.dim))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Maps tokens [batch, tokens, dim] and time [batch, dim] to [batch, tokens, patch]."""
        shift, scale = (self.modulation + time[:, None]).chunk(2, dim=1)
        return self.head(self.norm(x) * (1 + scale) + shift)


class ImageProjection(nn.Module):
    """CLIP tokens to the width of the transformer."""

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        self.proj = nn.Sequential(
            LayerNorm(config.image_dim),
            Linear(config.image_dim, config.image_dim),
            nn.GELU(),
            Linear(config.image_dim, config.dim),
            LayerNorm(config.dim),
        )

    def forward(self, image_tokens: Tensor) -> Tensor:
        """Maps [batch, image_tokens, image_dim] to [batch, image_tokens, dim]."""
        return self.proj(image_tokens)
