"""The loop that every stage shares: seeded by step, resumable, logged."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from export.demo.muon import Muon

WARM_UP = 50
LOG_EVERY = 20
SAVE_EVERY = 100


class Report(Protocol):
    """Told how far a stage is."""

    def __call__(self, stage: str, step: int, steps: int, facts: dict[str, float]) -> None:
        """Takes the numbers of the latest steps."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a stage is trained.

    Attributes:
        name: of the stage and its files.
        steps: of the whole stage.
        seed: with the step's number, what all of its randomness comes from.
        muon_lr: the highest learning rate of the matrices.
        adam_lr: that of all else.
        adam: parts of the names of matrices that are Adam's all the same: first and last layers.
        decay: of the averaged weights.
    """

    name: str
    steps: int
    seed: int
    muon_lr: float
    adam_lr: float
    adam: Sequence[str] = ()
    decay: float = 0.995


Loss = Callable[[np.random.Generator, int], tuple[Tensor, dict[str, float]]]
"""Draws a batch of its own for a step; returns the loss and numbers for the log."""


def train(module: nn.Module, loss: Loss, plan: Plan, folder: Path, report: Report) -> None:
    """Trains a module, or goes on where an earlier run stopped; leaves the averaged weights in it.

    Args:
        module: all of it that wants gradients is trained.
        loss: of a step.
        plan: how.
        folder: where ``<name>.pt`` and ``<name>.jsonl`` are kept.
        report: told of the progress.
    """
    average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(plan.decay))
    optimizers = _optimizers(module, plan)
    state = folder / f"{plan.name}.pt"
    first = _resume(state, module, average, optimizers) if state.is_file() else 0
    begun = time.monotonic()
    numbers: dict[str, list[float]] = {}
    for step in range(first, plan.steps):
        for optimizer in optimizers:
            _set_rate(optimizer, plan, step)
        torch.manual_seed(hash((plan.seed, step)) % 2**31)
        value, facts = loss(np.random.default_rng([plan.seed, step]), step)
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        average.update_parameters(module)
        for key, number in facts.items():
            numbers.setdefault(key, []).append(number)
        if (step + 1) % LOG_EVERY == 0:
            means = {key: round(float(np.mean(of_key)), 5) for key, of_key in numbers.items()}
            means["seconds"] = round(time.monotonic() - begun, 1)
            _log(folder / f"{plan.name}.jsonl", {"step": step + 1, **means})
            report(plan.name, step + 1, plan.steps, means)
            numbers = {}
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == plan.steps:
            _save(state, step + 1, module, average, optimizers)
    module.load_state_dict(average.module.state_dict())


def _optimizers(module: nn.Module, plan: Plan) -> list[torch.optim.Optimizer]:
    matrices, rest = [], []
    for name, weight in module.named_parameters():
        if not weight.requires_grad:
            continue
        is_matrix = weight.ndim >= 2 and min(weight.flatten(1).shape) > 1
        by_adam = not is_matrix or any(part in name for part in plan.adam)
        (rest if by_adam else matrices).append(weight)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=plan.adam_lr, betas=(0.9, 0.98), weight_decay=0.0)
    ]
    return [Muon(matrices, lr=plan.muon_lr), *optimizers] if matrices else optimizers


def _set_rate(optimizer: torch.optim.Optimizer, plan: Plan, step: int) -> None:
    """Warms up, then falls along half a cosine to nearly nothing."""
    highest = plan.muon_lr if isinstance(optimizer, Muon) else plan.adam_lr
    falling = 0.5 + 0.5 * math.cos(math.pi * step / plan.steps)
    for group in optimizer.param_groups:
        group["lr"] = highest * min(1.0, (step + 1) / WARM_UP) * max(falling, 0.02)


def _save(
    path: Path,
    step: int,
    module: nn.Module,
    average: nn.Module,
    optimizers: list[torch.optim.Optimizer],
) -> None:
    partial = path.with_suffix(".partial")
    states = [optimizer.state_dict() for optimizer in optimizers]
    content = {"module": module.state_dict(), "average": average.state_dict()}
    torch.save({"step": step, **content, "optimizers": states}, partial)
    partial.replace(path)


def _resume(
    path: Path, module: nn.Module, average: nn.Module, optimizers: list[torch.optim.Optimizer]
) -> int:
    saved = torch.load(path, weights_only=True)
    module.load_state_dict(saved["module"])
    average.load_state_dict(saved["average"])
    for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    return saved["step"]


def _log(path: Path, line: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
