"""Trains the denoiser: rectified flow over the latents of windows of talking.

Latents at noise level s are (1 - s) x0 + s noise, and the denoiser predicts noise - x0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from export.demo.clips import TrainingWindow
from export.models.denoiser.audio_flash import neighbours
from export.models.denoiser.config import DenoiserConfig
from export.models.denoiser.model import FlashDenoiser
from export.models.denoiser.transformer import Context
from server.triton.contract import LATENT_CHANNELS, MASK_CHANNELS

TOKENS = 6 * 9 * 64
"""Of a batch, about: six long windows or more of the short ones."""
SHIFT = 4.0
"""Moves the noise levels up to where motion is decided, as the server's samplers do."""
SILENCE_SHARE = 0.1
"""Of the batch that hears nothing, as in the guidance's second branch."""
MOUTH_WEIGHT = 5.0
STRETCH, TINT = (0.97, 1.1), 0.05
"""Of the latents that a later window knows: their contrast tends to grow from window to window."""
GATES = (2, 5)
FIRST_GATE = 0.3


def new_denoiser(config: DenoiserConfig, seed: int) -> FlashDenoiser:
    """Builds a denoiser whose blocks change little at first, and which predicts 0."""
    torch.manual_seed(seed)
    denoiser = FlashDenoiser(config)
    for name, weight in denoiser.named_parameters():
        if weight.ndim == 1:
            # A vector that is no bias is the weight of a norm.
            nn.init.constant_(weight, 1.0 if name.endswith("weight") else 0.0)
        elif "modulation" in name:
            nn.init.normal_(weight, std=0.02)
        else:
            nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    blocks: Any = denoiser.blocks
    with torch.no_grad():
        time_projection: Any = denoiser.time_projection[1]
        time_projection.weight *= 0.1
        denoiser.head.head.weight.zero_()
        for block in blocks:
            block.cross_attn.o.weight *= 0.3
            block.modulation[:, list(GATES)] += FIRST_GATE
    # The checkpoint has it, but nothing calls it.
    for block in blocks:
        block.cross_attn.q_audio.requires_grad_(False)
    return denoiser


class FlowLoss:
    """The squared error of the velocity, the mouth weighing more."""

    def __init__(
        self, denoiser: FlashDenoiser, windows: Sequence[TrainingWindow], texts: Tensor
    ) -> None:
        self._denoiser = denoiser
        self._texts = texts
        by_frames: dict[int, list[TrainingWindow]] = {}
        for window in windows:
            by_frames.setdefault(window.latents.shape[1], []).append(window)
        self._pools = list(by_frames.values())
        self._shares = [len(pool) / len(windows) for pool in self._pools]

    def __call__(self, random: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        """Returns the loss of one batch of equally long windows."""
        pool = self._pools[random.choice(len(self._pools), p=self._shares)]
        _, frames, height, width = pool[0].latents.shape
        count = round(TOKENS / (frames * height * width / 4))
        batch = [pool[index] for index in random.integers(len(pool), size=count)]
        clean = torch.stack([window.latents for window in batch]).float()
        level = _levels(random, count).view(-1, 1, 1, 1, 1)
        noise = torch.randn_like(clean)
        velocity = self._velocity(
            (1 - level) * clean + level * noise,
            torch.stack([_drifted(random, window.condition.float()) for window in batch]),
            1000 * level.view(-1, 1),
            self._texts[torch.from_numpy(random.integers(len(self._texts), size=count))],
            torch.stack([window.image_tokens for window in batch]).float(),
            _audio(random, batch),
        )
        errors = (velocity - (noise - clean)).square().mean(dim=1, keepdim=True)
        mouth = torch.stack([window.mouth for window in batch]).float().unsqueeze(2)
        loss = (errors * (1 + (MOUTH_WEIGHT - 1) * mouth)).mean()
        with torch.no_grad():
            still = (errors * (1 - mouth)).sum() / (1 - mouth).expand_as(errors).sum()
            moving = (errors * mouth).sum() / mouth.expand_as(errors).sum()
        return loss, {"still": still.item(), "mouth": moving.item()}

    def _velocity(
        self,
        latents: Tensor,
        condition: Tensor,
        timestep: Tensor,
        text: Tensor,
        image_tokens: Tensor,
        audio: Tensor,
    ) -> Tensor:
        """Does what FlashDenoiser does, the products of matrices in bfloat16."""
        denoiser = self._denoiser
        embedding = denoiser.embed(latents, condition, timestep)
        # The plain attention: on a CPU the fused one takes three times as long.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            tokens = denoiser.audio_injection(audio, latents.shape[2])
            context = Context(*denoiser.context(text, image_tokens), tokens)
            velocity, _ = denoiser.denoise(embedding, context)
        return velocity.float()


def _drifted(random: np.random.Generator, condition: Tensor) -> Tensor:
    """Stretches and tints what a later window knows, as a chain of windows does bit by bit.

    The denoiser is to undo that, or else each window would pass on a little more of it.
    """
    known = int(condition[:MASK_CHANNELS].amax(dim=(0, 2, 3)).sum())
    if known < 2:
        return condition
    drifted = condition.clone()
    tint = torch.from_numpy(random.normal(0, TINT, (LATENT_CHANNELS, 1, 1, 1))).float()
    drifted[MASK_CHANNELS:, :known] *= random.uniform(*STRETCH)
    drifted[MASK_CHANNELS:, :known] += tint
    return drifted


def _levels(random: np.random.Generator, count: int) -> Tensor:
    """Draws noise levels, one from each of ``count`` equal shares: the loss then varies less."""
    even = (np.arange(count) + random.uniform(0, 1, count)) / count
    return torch.from_numpy(SHIFT * even / (1 + (SHIFT - 1) * even)).float()


def _audio(random: np.random.Generator, batch: Sequence[TrainingWindow]) -> Tensor:
    heard = torch.stack([window.features[window.audio_index] for window in batch]).float()
    audio = neighbours(heard, batch[0].latents.shape[1])
    speaks = torch.from_numpy(random.random(len(batch)) >= SILENCE_SHARE).float()
    return audio * speaks.view(-1, 1, 1, 1, 1)
