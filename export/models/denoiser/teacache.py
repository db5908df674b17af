"""The parts of the denoiser that TeaCache needs as networks of their own.

``time_modulation`` tells before a run which evaluations may be skipped; ``denoiser_cached`` stands
in for them. TeaCache: https://arxiv.org/abs/2411.19108.
"""

from torch import Tensor, nn

from export.models.denoiser.model import Denoiser


class TimeModulation(nn.Module):
    """The only part of the denoiser that TeaCache decides by."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = _only(denoiser, "time_embedding", "time_projection")

    def forward(self, timestep: Tensor) -> Tensor:
        """Maps timesteps [B, 1] to time modulations [B, 6, dim]."""
        return self.denoiser.modulation(self.denoiser.embed_time(timestep))


class CachedDenoiser(nn.Module):
    """The denoiser without its blocks."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = _only(denoiser, "patch_embedding", "time_embedding", "head")

    def forward(
        self, latents: Tensor, condition: Tensor, timestep: Tensor, residual: Tensor
    ) -> Tensor:
        """Predicts the velocity; shapes are those of ``server.triton.contract.DENOISER_CACHED``."""
        return self.denoiser.forward_cached(latents, condition, timestep, residual)


def _only(denoiser: Denoiser, *parts: str) -> Denoiser:
    """Drops a denoiser's other parts, so that their weights are neither kept nor exported."""
    for name, _ in list(denoiser.named_children()):
        if name not in parts:
            delattr(denoiser, name)
    return denoiser
