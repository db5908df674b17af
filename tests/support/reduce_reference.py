"""Keeps of the reference what checks the maths alone, small enough to live in this repository.

python -m tests.support.reduce_reference

Samplers, guidance, TeaCache and colours need no networks, so their numbers are enough; of umT5
everything is small, and of the denoisers only the time embedding, which TeaCache decides by.
"""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from tests.support.reference import REDUCED, ReferenceFixture, reference_fixture

EVERYTHING = r".*"


@dataclass(frozen=True)
class Part:
    """What is kept of one folder: tensors by patterns of their whole names, and some cases."""

    tensors: str = EVERYTHING
    weights: str | None = None
    cases: frozenset[str] | None = None


TIME_EMBEDDING = Part(tensors=r".*\.(e0|t)", weights=r"time_(embedding|projection)\..*")
PIPELINE = r".*\.(timesteps|sigmas|init_latents|noise_pred|latents_steps|transformer_out\d?)"
PARTS = {
    "samplers": Part(),
    "text_encoder": Part(weights=EVERYTHING),
    "prepost": Part(tensors=r"clip.*|.*\.ip_mask"),
    "denoiser_flash": TIME_EMBEDDING,
    "denoiser_preview": TIME_EMBEDDING,
    "pipeline_flash": Part(
        tensors=PIPELINE,
        cases=frozenset(["cfgskip_unipc_sq_f9", "nocfg_flow_sq_f9", "teacache_unipc_sq_f9"]),
    ),
    "pipeline_preview": Part(
        tensors=rf"{PIPELINE}|.*\.negative_prompt_embeds_steps",
        cases=frozenset(["one_window_flow", "one_window_teacache"]),
    ),
}


def reduce(name: str, part: Part, target: Path) -> None:
    """Writes what is kept of one folder."""
    fixture = reference_fixture(name)
    folder = target / name
    folder.mkdir(parents=True)
    keeps = _keeps(part)
    for file, arrays in (("inputs", fixture.inputs), ("outputs", fixture.outputs)):
        kept = {key: array for key, array in arrays.items() if keeps(key)}
        save_file(kept, folder / f"{file}.safetensors")
    if part.weights is not None:
        pattern = re.compile(part.weights)
        weights = {k: a for k, a in fixture.weights().items() if pattern.fullmatch(k)}
        save_file(weights, folder / "weights.safetensors")
    (folder / "config.json").write_text(json.dumps(_config(fixture, part), indent=1) + "\n")


def _keeps(part: Part) -> Callable[[str], bool]:
    pattern = re.compile(part.tensors)

    def keeps(key: str) -> bool:
        of_case = part.cases is None or key.partition(".")[0] in part.cases
        return of_case and pattern.fullmatch(key) is not None

    return keeps


def _config(fixture: ReferenceFixture, part: Part) -> dict[str, Any]:
    if part.cases is None:
        return fixture.config
    return {
        **fixture.config,
        "cases": [case for case in fixture.config["cases"] if case["name"] in part.cases],
        "recorded": {k: v for k, v in fixture.config["recorded"].items() if k in part.cases},
    }


if __name__ == "__main__":
    shutil.rmtree(REDUCED, ignore_errors=True)
    for name, part in PARTS.items():
        reduce(name, part, REDUCED)
