"""The EchoMimic V3 denoiser: noisy latents, portrait, text and audio to a velocity.

One evaluation is ``embed`` -> ``blocks`` -> ``head``. ``evaluate`` does it as the authors do, every
row with inputs of its own; ``forward`` is what is exported: the rows of a guided step share all but
their gains, so that each input is given, and text and portrait are projected, once. Attribute names
are the public checkpoints' keys. Compatible with ``WanTransformerAudioMask3DModel`` of
``wan_transformer3d_audio_2512.py`` (flash) and ``wan_transformer3d_audio.py`` (preview).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from export.models.denoiser.audio_flash import AudioInjection, neighbours
from export.models.denoiser.audio_preview import AudioToToken, gather_windows
from export.models.denoiser.config import DenoiserConfig, Variant
from export.models.denoiser.rotary import Rotation, angles, spread
from export.models.denoiser.transformer import Block, Context, Head, ImageProjection, repeated
from export.models.layers import Linear
from export.models.loading import load_strictly
from export.precision.fp8 import UNSEEN, quantize_blocks
from export.precision.int8 import quantize_matrices
from export.precision.narrowing import DTYPES
from export.precision.policy import Fp8Scale, Precision

FLOAT32_PARTS = ("norm", "modulation", "time_", "patch_embedding", "img_emb", "head.")
"""Parts of the keys whose weights stay in float32: they are small, and precision matters there."""
TIME_PERIOD = 10_000


@dataclass(frozen=True, slots=True)
class Embedding:
    """What enters the blocks.

    Attributes:
        tokens: [batch, tokens, dim] in float32.
        grid: tokens along time, rows and columns.
        time: [batch, dim] in float32.
    """

    tokens: Tensor
    grid: tuple[int, int, int]
    time: Tensor

    def repeated(self, rows: int) -> "Embedding":
        """Returns it with each row so many times."""
        return Embedding(repeated(self.tokens, rows), self.grid, repeated(self.time, rows))


class Denoiser(nn.Module):
    """What both variants share; they differ in how audio becomes context."""

    rotary_cos: Tensor
    rotary_sin: Tensor
    time_frequencies: Tensor
    single_operators = False
    """Whether the opset that it is exported to has rotary embedding as one operator."""
    evaluate: Callable[..., tuple[Tensor, Tensor]]
    """Predicts the velocity of rows that share nothing, and the residual."""

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        self.config = config
        dim = config.dim
        self.patch_embedding = nn.Conv3d(
            config.in_dim, dim, kernel_size=config.patch_size, stride=config.patch_size
        )
        self.text_embedding = nn.Sequential(
            Linear(config.text_dim, dim), nn.GELU(approximate="tanh"), Linear(dim, dim)
        )
        self.time_embedding = nn.Sequential(
            Linear(config.freq_dim, dim), nn.SiLU(), Linear(dim, dim)
        )
        self.time_projection = nn.Sequential(nn.SiLU(), Linear(dim, 6 * dim))
        self.img_emb = ImageProjection(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.head = Head(config)
        angle = angles(config.head_dim, config.riflex)
        half = config.freq_dim // 2
        frequencies = torch.from_numpy(TIME_PERIOD ** -(np.arange(half, dtype=np.float64) / half))
        self.register_buffer("rotary_cos", angle.cos().float(), persistent=False)
        self.register_buffer("rotary_sin", angle.sin().float(), persistent=False)
        self.register_buffer("time_frequencies", frequencies, persistent=False)

    def embed(self, latents: Tensor, condition: Tensor, timestep: Tensor) -> Embedding:
        """Cuts latents [B, 16, T, h, w] and condition [B, 20, T, h, w] into tokens of one patch."""
        patches = self.patch_embedding(torch.cat((latents, condition), dim=1))
        _, _, frames, height, width = patches.shape
        return Embedding(
            tokens=patches.flatten(2).transpose(1, 2),
            grid=(frames, height, width),
            time=self.embed_time(timestep),
        )

    def embed_time(self, timestep: Tensor) -> Tensor:
        """Embeds timesteps [B, 1] in 0..1000 to [B, dim]."""
        # In float64, as a float32 angle of 1000 radians is good to 6e-5 only (TensorRT narrows it).
        angle = timestep.double() * self.time_frequencies
        # Cosines as sines: up to 1.28 ONNX Runtime has no float64 Cos on a CPU.
        sinusoid = torch.cat((angle + math.pi / 2, angle), dim=-1).sin().float()
        return self.time_embedding(sinusoid)

    def modulation(self, time: Tensor) -> Tensor:
        """Returns the shifts, scales and gates [B, 6, dim] that a time embedding [B, dim] means."""
        return self.time_projection(time).unflatten(-1, (6, -1))

    def context(self, text: Tensor, image_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Embeds text [B, L, text_dim], L <= text_len, and image tokens [B, 257, image_dim]."""
        text_len = self.config.text_len
        # Padding by a constant and cutting keeps the graph free of conditions on L.
        padded = pad(text, (0, 0, 0, text_len))[:, :text_len]
        return self.text_embedding(padded), self.img_emb(image_tokens)

    def denoise(self, embedding: Embedding, context: Context) -> tuple[Tensor, Tensor]:
        """Runs the blocks and the head.

        Returns:
            velocity: [B, 16, T, h, w].
            residual: what the blocks added to the tokens, [B, tokens, dim].
        """
        time = self.modulation(embedding.time)
        rotation = Rotation(
            cos=spread(self.rotary_cos, self.config.head_dim, embedding.grid),
            sin=spread(self.rotary_sin, self.config.head_dim, embedding.grid),
            as_operator=self.single_operators and torch.onnx.is_in_onnx_export(),
        )
        tokens = embedding.tokens
        for block in self.blocks:
            tokens = block(tokens, time, rotation, context)
        return self.velocity(tokens, embedding), tokens - embedding.tokens

    def forward_cached(
        self, latents: Tensor, condition: Tensor, timestep: Tensor, residual: Tensor
    ) -> Tensor:
        """Takes the residuals of an earlier step, [B, R, tokens, dim], in place of the blocks.

        TeaCache (https://arxiv.org/abs/2411.19108).

        Returns:
            velocity: [B, R, 16, T, h, w].
        """
        rows = residual.shape[1]
        embedding = self.embed(latents, condition, timestep).repeated(rows)
        velocity = self.velocity(embedding.tokens + residual.flatten(0, 1), embedding)
        return velocity.unflatten(0, (-1, rows))

    def velocity(self, tokens: Tensor, embedding: Embedding) -> Tensor:
        """Turns the tokens after the blocks into a velocity [B, 16, T, h, w]."""
        patches = self.head(tokens, embedding.time)
        patch = self.config.patch_size
        patches = patches.unflatten(2, (*patch, -1)).unflatten(1, embedding.grid)
        video = torch.einsum("bthwpqrc->bctphqwr", patches)
        return video.flatten(6, 7).flatten(4, 5).flatten(2, 3)


class FlashDenoiser(Denoiser):
    """All hidden states of the audio encoder, in windows of five video frames."""

    def __init__(self, config: DenoiserConfig):
        super().__init__(config)
        self.audio_injection = AudioInjection(config)

    def evaluate(
        self,
        latents: Tensor,
        condition: Tensor,
        timestep: Tensor,
        text: Tensor,
        image_tokens: Tensor,
        audio: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Predicts the velocity of rows that share nothing.

        Args:
            latents: [B, 16, T, h, w].
            condition: [B, 20, T, h, w].
            timestep: [B, 1].
            text: [B, L, text_width].
            image_tokens: [B, 257, image_width].
            audio: [B, frames, 5, 12, audio_width], each frame with its neighbours.

        Returns:
            velocity: [B, 16, T, h, w].
            residual: what the blocks added to the tokens, [B, tokens, dim].
        """
        embedding = self.embed(latents, condition, timestep)
        frames, _, _ = embedding.grid
        context = Context(*self.context(text, image_tokens), self.audio_injection(audio, frames))
        return self.denoise(embedding, context)

    def forward(
        self,
        latents: Tensor,
        condition: Tensor,
        timestep: Tensor,
        text: Tensor,
        image_tokens: Tensor,
        audio: Tensor,
        audio_gain: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Predicts the velocities of a step; shapes as ``contract.DENOISER`` has them.

        Args:
            latents: [B, 16, T, h, w].
            condition: [B, 20, T, h, w].
            timestep: [B, 1].
            text: [B, L, text_width].
            image_tokens: [B, 257, image_width].
            audio: [B, frames + 4, 12, audio_width]: two frames more on either side.
            audio_gain: [B, R], what the audio of each row is multiplied by.

        Returns:
            velocity: [B, R, 16, T, h, w].
            residual: what the blocks added to the tokens, [B, R, tokens, dim].
        """
        rows = audio_gain.shape[1]
        embedding = self.embed(latents, condition, timestep)
        frames, _, _ = embedding.grid
        gained = (audio.unsqueeze(1) * audio_gain[:, :, None, None, None]).flatten(0, 1)
        tokens = self.audio_injection(neighbours(gained, frames), frames)
        context = Context(*self.context(text, image_tokens), tokens, shared=(rows, rows))
        velocity, residual = self.denoise(embedding.repeated(rows), context)
        return velocity.unflatten(0, (-1, rows)), residual.unflatten(0, (-1, rows))


class PreviewDenoiser(Denoiser):
    """The last hidden state of the audio encoder, in windows, acting on the face alone."""

    def __init__(self, config: DenoiserConfig):
        super().__init__(config)
        self.audio2token = AudioToToken(config)

    def evaluate(
        self,
        latents: Tensor,
        condition: Tensor,
        timestep: Tensor,
        text: Tensor,
        image_tokens: Tensor,
        audio: Tensor,
        audio_index: Tensor,
        face_mask: Tensor,
        audio_scale: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Predicts the velocity of rows that share nothing; as `forward` but for these.

        Args:
            latents: [B, 16, T, h, w].
            condition: [B, 20, T, h, w].
            timestep: [B, 1].
            text: [B, L, text_width].
            image_tokens: [B, 257, image_width].
            audio: [B, audio_tokens, audio_width].
            audio_index: [B, T, 17].
            face_mask: [B, h / 2, w / 2].
            audio_scale: [B, 1].

        Returns:
            velocity: [B, 16, T, h, w].
            residual: what the blocks added to the tokens, [B, tokens, dim].
        """
        embedding = self.embed(latents, condition, timestep)
        context = Context(
            *self.context(text, image_tokens),
            gather_windows(self.audio2token(audio), audio_index),
            _weight(face_mask, audio_scale),
        )
        return self.denoise(embedding, context)

    def forward(
        self,
        latents: Tensor,
        condition: Tensor,
        timestep: Tensor,
        text: Tensor,
        text_gain: Tensor,
        image_tokens: Tensor,
        audio: Tensor,
        audio_gain: Tensor,
        audio_index: Tensor,
        face_mask: Tensor,
        audio_scale: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Predicts the velocities of a step; shapes as ``contract.PREVIEW_DENOISER`` has them.

        Args:
            latents: [B, 16, T, h, w].
            condition: [B, 20, T, h, w].
            timestep: [B, 1].
            text: [B, texts, L, text_width].
            text_gain: [B, R, texts], what each row's text is the sum of.
            image_tokens: [B, 257, image_width].
            audio: [B, audio_tokens, audio_width].
            audio_gain: [B, R], what the audio of each row is multiplied by.
            audio_index: [B, T, 17] INT64, as ``server.audio.token_windows`` makes it.
            face_mask: [B, h / 2, w / 2], 1 where audio acts and 0 elsewhere.
            audio_scale: [B, 1], how strongly it acts.

        Returns:
            velocity: [B, R, 16, T, h, w].
            residual: what the blocks added to the tokens, [B, R, tokens, dim].
        """
        rows = audio_gain.shape[1]
        gained = (audio.unsqueeze(1) * audio_gain[:, :, None, None]).flatten(0, 1)
        # No product of matrices, which a GPU may round: gains are 0 and 1 but for one.
        texts = (text.unsqueeze(1) * text_gain[:, :, :, None, None]).sum(2).flatten(0, 1)
        context = Context(
            *self.context(texts, image_tokens),
            gather_windows(self.audio2token(gained), repeated(audio_index, rows)),
            repeated(_weight(face_mask, audio_scale), rows),
            shared=(1, rows),
        )
        embedding = self.embed(latents, condition, timestep)
        velocity, residual = self.denoise(embedding.repeated(rows), context)
        return velocity.unflatten(0, (-1, rows)), residual.unflatten(0, (-1, rows))


def _weight(face_mask: Tensor, audio_scale: Tensor) -> Tensor:
    """Returns how strongly audio acts on the tokens of a latent frame, [B, 1, tokens, 1]."""
    return (face_mask.flatten(1) * audio_scale)[:, None, :, None]


VARIANTS: dict[Variant, type[Denoiser]] = {"flash": FlashDenoiser, "preview": PreviewDenoiser}


def load_denoiser(
    config: DenoiserConfig,
    weights: Mapping[str, Tensor],
    precision: Precision = "fp32",
    largest_inputs: Mapping[str, float] = UNSEEN,
    fp8_scale: Fp8Scale = "channel",
) -> Denoiser:
    """Builds a denoiser around the tensors of a public checkpoint, without copying them.

    Args:
        config: the sizes, as ``DenoiserConfig.from_checkpoint`` reads them.
        weights: the tensors by the checkpoint's own keys.
        precision: of the linear layers of the blocks and of text and audio. A tensor already in
            its type is not copied.
        largest_inputs: what fp8 takes its scales from; see `export.precision.calibration`.
        fp8_scale: what of a weight in fp8 has a scale of its own.

    Raises:
        CheckpointMismatchError: a key is missing or unknown, or a tensor has another shape.
    """
    with torch.device("meta"):
        denoiser = VARIANTS[config.variant](config)
    typed = {
        key: tensor.to(torch.float32 if _stays_float32(key) else DTYPES[precision])
        for key, tensor in weights.items()
    }
    load_strictly(denoiser, typed)
    if precision == "int8":
        quantize_matrices(denoiser, FLOAT32_PARTS)
    if precision == "fp8":
        quantize_blocks(denoiser, largest_inputs, fp8_scale)
    return denoiser.requires_grad_(False).eval()


def _stays_float32(key: str) -> bool:
    return any(part in key for part in FLOAT32_PARTS)
