"""TeaCache: which evaluations of the denoiser are skipped, planned before the loop begins.

The blocks of a transformer add a residual to their input. While the time modulation has changed
little since they last ran, that residual is added again instead. Liu et al. 2024,
https://arxiv.org/abs/2411.19108; compatible with upstream's cache_utils.py. The decision depends on
the timesteps alone: it takes the time modulation of the denoiser, but none of its evaluations.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.animation.guidance import Branch

WAN_1_3B = (-5.21862437e4, 9.23041404e3, -5.28275948e2, 1.36987616e1, -4.99875664e-2)
"""Upstream's polynomial for models named Wan2.1-Fun-V1.1-1.3B, highest degree first."""

Policy = Literal["per_branch", "shared"]
"""What counts as an evaluation, and whose residual it leaves.

``per_branch``: the branches of a step are one evaluation, and each has its own residual, as in
upstream's preview. ``shared``: each branch is one evaluation, and all share the residual of the
latest, as in upstream's flash; a branch that gets the residual of another loses its guidance.
"""


@dataclass(frozen=True, slots=True)
class TeaCache:
    """When to skip.

    The first ``warm_up`` evaluations of a run never are. The ``coefficients`` of a polynomial,
    highest degree first, turn the relative distance of two time modulations into an estimate of
    the change; evaluations are skipped while its sum is below ``threshold``.
    """

    policy: Policy = "per_branch"
    threshold: float = 0.1
    warm_up: int = 5
    coefficients: tuple[float, ...] = WAN_1_3B


class Evaluation(NamedTuple):
    """One branch run through all blocks at one step; names the residual that it leaves."""

    step: int
    branch: Branch


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What is done at one step.

    First the branches to ``compute`` are evaluated, as one batch. Then those to ``reuse`` add the
    residual of an evaluation, which may be one of this step. ``hold`` names the residuals, of this
    step and before, that this step or a later one reuses: only they have to be kept.
    """

    compute: tuple[Branch, ...]
    reuse: dict[Branch, Evaluation] = field(default_factory=dict[Branch, Evaluation])
    hold: frozenset[Evaluation] = frozenset()


class _Call(NamedTuple):
    step: int
    branches: tuple[Branch, ...]

    def evaluation_for(self, branch: Branch) -> Evaluation:
        """Returns the evaluation of a branch in this call, or of the one that stands in for it."""
        return Evaluation(self.step, branch if branch in self.branches else self.branches[0])


def plan(
    settings: TeaCache,
    rows: Sequence[tuple[Branch, ...]],
    distances: Sequence[float],
) -> tuple[StepPlan, ...]:
    """Plans a run.

    Args:
        settings: when to skip.
        rows: the branches of each step, in the order of upstream's calls. None comes anew later.
        distances: how far the time modulation moves from each step to the next, so one fewer.

    Raises:
        ValueError: there are too many or few distances, or the warm-up is not in 1..steps.
    """
    steps = len(rows)
    if len(distances) != steps - 1:
        raise ValueError(f"{len(distances)} distances for {steps} steps")
    if not 1 <= settings.warm_up <= steps:
        raise ValueError(f"a warm-up of {settings.warm_up} evaluations for {steps} steps")
    calls = list(_calls(settings.policy, rows))
    moved = (0.0 if a.step == b.step else distances[a.step] for a, b in pairwise(calls))
    sources: list[dict[Branch, Evaluation]] = [{} for _ in rows]
    latest = calls[0]
    for call, computed in zip(calls, _decisions(settings, steps, moved), strict=True):
        latest = call if computed else latest
        sources[call.step] |= {branch: latest.evaluation_for(branch) for branch in call.branches}
    return tuple(_step_plan(step, sources) for step in range(steps))


def relative_distances(modulations: NDArray[np.floating[Any]]) -> tuple[float, ...]:
    """Returns how far the time modulation moves from each step to the next.

    Args:
        modulations: e0 of the denoiser at each step, float32 [steps, 6, dim].
    """
    before, after = modulations[:-1], modulations[1:]
    moved = np.abs(after - before).mean(axis=(1, 2)) / np.abs(before).mean(axis=(1, 2))
    return tuple(moved.tolist())


def _calls(policy: Policy, rows: Iterable[tuple[Branch, ...]]) -> Iterator[_Call]:
    for step, branches in enumerate(rows):
        match policy:
            case "per_branch":
                yield _Call(step, branches)
            case "shared":
                yield from (_Call(step, (branch,)) for branch in branches)


def _decisions(settings: TeaCache, steps: int, moved: Iterable[float]) -> Iterator[bool]:
    """Yields whether each call is computed; upstream starts afresh after as many calls as steps."""
    change = 0.0
    yield True
    for call, distance in enumerate(moved, start=1):
        change += float(np.polyval(settings.coefficients, distance))
        computed = call % steps < settings.warm_up or change >= settings.threshold
        change = 0.0 if computed else change
        yield computed


def _step_plan(step: int, sources: Sequence[dict[Branch, Evaluation]]) -> StepPlan:
    reused = [
        {branch: source for branch, source in of_step.items() if source != (at, branch)}
        for at, of_step in enumerate(sources)
    ]
    wanted = {source for later in reused[step:] for source in later.values()}
    return StepPlan(
        compute=tuple(branch for branch in sources[step] if branch not in reused[step]),
        reuse=reused[step],
        hold=frozenset(source for source in wanted if source.step <= step),
    )
