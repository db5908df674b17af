"""What a Triton says of itself."""

from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import InferenceServerClient


@dataclass(frozen=True)
class Spent:
    """Seconds of all executions so far; those of a batch count once for each of its requests."""

    executions_s: float
    """From a request that has come to an answer that may go."""
    computed_s: float
    """Of that, in networks."""


def spent(url: str) -> Spent:
    """Asks a Triton."""
    with InferenceServerClient(url) as client:
        answer: Any = client.get_inference_statistics()
    found = [model.inference_stats for model in answer.model_stats]
    return Spent(
        sum(stats.success.ns for stats in found) / 1e9,
        sum(stats.compute_infer.ns for stats in found) / 1e9,
    )
