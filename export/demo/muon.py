"""Muon: momentum whose matrices are made orthogonal before each step; Adam for the rest.

https://kellerjordan.github.io/posts/muon
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration that drives singular values towards 1."""
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Steps weights of two or more dimensions, seen as matrices of their first one."""

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Takes one step along the gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                nesterov = weight.grad.lerp(momentum, group["momentum"]).flatten(1)
                stretch = max(1.0, nesterov.shape[0] / nesterov.shape[1]) ** 0.5
                update = orthogonal(nesterov).view_as(weight)
                weight.add_(update, alpha=-group["lr"] * stretch)


def orthogonal(matrix: Tensor) -> Tensor:
    """Returns nearly the orthogonal matrix closest to a matrix, by Newton-Schulz iteration."""
    a, b, c = COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide is matrix else x.T
