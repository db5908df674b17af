"""The parts of the denoiser that TeaCache needs as networks of their own.

``time_modulation`` tells before a run which evaluations may be skipped; ``denoiser_cached`` stands
in for them. TeaCache: https://arxiv.org/abs/2411.19108.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from export.models.denoiser.config import DenoiserConfig
from export.models.denoiser.model import VARIANTS, Denoiser
from export.models.loading import load_strictly

TIME_MODULATION = ("time_embedding", "time_projection")
CACHED_DENOISER = ("patch_embedding", "time_embedding", "head")
"""The parts of a denoiser that each is made of; all stay in float32."""


class TimeModulation(nn.Module):
    """The only part of the denoiser that TeaCache decides by."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = _only(denoiser, TIME_MODULATION)

    def forward(self, timestep: Tensor) -> Tensor:
        """Maps timesteps [B, 1] to time modulations [B, 6, dim]."""
        return self.denoiser.modulation(self.denoiser.embed_time(timestep))


class CachedDenoiser(nn.Module):
    """The denoiser without its blocks."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = _only(denoiser, CACHED_DENOISER)

    def forward(
        self, latents: Tensor, condition: Tensor, timestep: Tensor, residual: Tensor
    ) -> Tensor:
        """Predicts the velocity; shapes are those of ``server.triton.contract.DENOISER_CACHED``."""
        return self.denoiser.forward_cached(latents, condition, timestep, residual)


def load_time_modulation(config: DenoiserConfig, weights: Mapping[str, Tensor]) -> TimeModulation:
    """Builds the time modulation around its part of a denoiser's tensors.

    Raises:
        CheckpointMismatchError: a key is missing or unknown, or a tensor has another shape.
    """
    with torch.device("meta"):
        module = TimeModulation(VARIANTS[config.variant](config))
    _load(module.denoiser, weights, TIME_MODULATION)
    return module


def load_cached_denoiser(config: DenoiserConfig, weights: Mapping[str, Tensor]) -> CachedDenoiser:
    """Builds the denoiser without its blocks around its part of a denoiser's tensors.

    Raises:
        CheckpointMismatchError: a key is missing or unknown, or a tensor has another shape.
    """
    with torch.device("meta"):
        module = CachedDenoiser(VARIANTS[config.variant](config))
    _load(module.denoiser, weights, CACHED_DENOISER)
    return module


def _load(denoiser: Denoiser, weights: Mapping[str, Tensor], parts: tuple[str, ...]) -> None:
    kept = {key: t.float() for key, t in weights.items() if key.partition(".")[0] in parts}
    load_strictly(denoiser, kept)
    denoiser.requires_grad_(False).eval()


def _only(denoiser: Denoiser, parts: tuple[str, ...]) -> Denoiser:
    """Drops a denoiser's other parts, so that their weights are neither kept nor exported."""
    for name, _ in list(denoiser.named_children()):
        if name not in parts:
            delattr(denoiser, name)
    return denoiser
