"""Layers that take any type and compute in their own: what lies between them stays in float32."""

from torch import Tensor, nn


class Linear(nn.Linear):
    """Computes in the type of its weights."""

    def forward(self, input: Tensor) -> Tensor:
        """Maps [..., in_features] to [..., out_features]."""
        return super().forward(input.to(self.weight.dtype))


class LayerNorm(nn.LayerNorm):
    """Computes in float32."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalises the last dimension."""
        return super().forward(input.float())
