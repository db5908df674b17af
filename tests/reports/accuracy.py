"""How far every number is from the authors' program, on torch, ONNX Runtime and Triton.

python -m tests.reports.accuracy
"""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.models.denoiser.config import Riflex
from server.triton.client import TritonEngine
from server.triton.contract import Variant
from server.triton.engine import Engine
from server.triton.process import Threads
from tests.reports.markdown import table, write_measured
from tests.server.animation.test_samplers import recorded_runs
from tests.support.network_cases import network_cases
from tests.support.onnx_engine import OnnxEngine
from tests.support.pipeline_reference import Case, cases
from tests.support.prepost_cases import prepost_cases
from tests.support.reference import reference_fixture
from tests.support.reference_repository import reference_repository
from tests.support.torch_engine import reference_engine
from tests.support.toy_triton import Scene, find_installation

ENGINES = ("torch", "ONNX Runtime", "Triton")
Export = tuple[Variant, Riflex | None]
Key = tuple[str, str]
"""A folder of the reference, and a quantity in it."""


INTRO = """Each cell is the largest absolute difference over all cases of a fixture, and that
difference relative to the largest absolute value expected. The weights are the reference's, tiny
and random, in 32 bits; a GPU or 16 bits would differ more. The tolerance (absolute, and relative to
each value) is the one that the reference states. Pipelines run from WAV and picture to video. The
samplers, and what happens to pictures before and after the networks, are NumPy on every engine."""


@dataclass
class Difference:
    """The largest difference of some arrays, and relative to the largest value expected."""

    absolute: float = 0.0
    relative: float = 0.0

    def add(self, actual: NDArray[np.floating], expected: NDArray[np.floating]) -> None:
        assert actual.shape == expected.shape
        absolute = float(np.abs(actual - expected).max())
        self.absolute = max(self.absolute, absolute)
        self.relative = max(self.relative, absolute / float(np.abs(expected).max()))

    def __str__(self) -> str:
        return f"{self.absolute:.0e} / {self.relative:.0e}"


Differences = defaultdict[Key, Difference]


@asynccontextmanager
async def engine_of(kind: str, export: Export) -> AsyncIterator[Engine]:
    """An engine that runs the networks of an export."""
    if kind == "torch":
        yield reference_engine(*export)
        return
    repository = reference_repository(*export)
    if kind == "ONNX Runtime":
        yield OnnxEngine(repository)
        return
    with tempfile.TemporaryDirectory() as scratch:
        scene = Scene(repository, Path(scratch) / "run", Path(scratch) / "triton.log")
        async with scene.start(find_installation(), threads=Threads(intra_op=1)) as triton:
            engine = TritonEngine(triton.grpc_url, timeout_s=60)
            yield engine
            await engine.close()


async def measure(kind: str, found: Differences) -> None:
    """Runs everything on one kind of engine."""
    runs: dict[Export, list[Case]] = defaultdict(list)
    for variant in ("flash", "preview"):
        for case in cases(variant):
            runs[variant, case.riflex].append(case)
    for export, of_export in runs.items():
        async with engine_of(kind, export) as engine:
            for single in network_cases():
                if (single.variant, single.riflex) == export:
                    key = (single.fixture, f"{single.network.name}: {single.output}")
                    found[key].add(await single.run(engine), single.expected)
            for case in of_export:
                await measure_pipeline(case, engine, found)


async def measure_pipeline(case: Case, engine: Engine, found: Differences) -> None:
    """Runs a whole clip."""
    recorder, video = await case.run(engine)
    theirs, fixture = case.fixture.outputs, f"pipeline_{case.variant}"
    for window, latents in enumerate(recorder.given("vae_decoder", "latents")):
        if case.variant == "flash":
            expected = theirs[f"{case.name}.latents_steps"][-1]
        else:
            expected = theirs[f"{case.name}.w{window}.final_latents"]
        which = "later windows" if window else "first window"
        found[fixture, f"latents, {which}"].add(latents, expected)
    if case.case["stores_video"]:
        several = len(recorder.given("vae_decoder", "latents")) > 1
        quantity = "video, several windows" if several else "video, one window"
        found[fixture, quantity].add(video, theirs[f"{case.name}.video"])


def sampler_rows() -> Iterator[tuple[str, ...]]:
    """Yields the difference of each sampler's trajectory."""
    fixture = reference_fixture("samplers")
    model = fixture.config["fake_model"]
    found: defaultdict[str, Difference] = defaultdict(Difference)
    for key, sampler in recorded_runs(fixture):
        state = sampler.start(fixture.inputs["init_sample"])
        trajectory = [state.latents]
        for timestep in sampler.timesteps:
            velocity = np.tanh(state.latents * model["a"] + timestep * model["b"])
            state = sampler.step(state, velocity)
            trajectory.append(state.latents)
        variant = key.rpartition(".")[0]
        found[variant].add(np.stack(trajectory), fixture.outputs[f"{key}.trajectory"])
    for variant, difference in found.items():
        yield "samplers", f"{variant}: trajectory", "1e-5", str(difference)


def picture_rows() -> Iterator[tuple[object, ...]]:
    """Yields the largest difference of what is whole numbers: sizes, masks, levels of pictures."""
    found: defaultdict[tuple[str, int], int] = defaultdict(int)
    for case in prepost_cases(reference_fixture("prepost")):
        key = (case.quantity, case.tolerance)
        found[key] = max(found[key], case.difference)
    for (quantity, allowed), difference in found.items():
        yield "prepost", quantity, allowed, difference


def tolerance(key: Key) -> str:
    """What the reference allows."""
    fixture, quantity = key
    if not fixture.startswith("pipeline"):
        return "2e-4" if fixture == "audio_flash" else "1e-4"
    return {
        "latents, first window": "1e-3",
        "latents, later windows": "5e-3",
        "video, one window": "5e-4",
        "video, several windows": "2e-3",
    }[quantity]


async def main() -> None:
    """Measures on every engine and writes the page."""
    columns: dict[str, Differences] = {}
    for kind in ENGINES:
        columns[kind] = defaultdict(Difference)
        await measure(kind, columns[kind])
    rows = [
        (*key, tolerance(key), *(str(columns[kind][key]) for kind in ENGINES))
        for key in columns[ENGINES[0]]
    ]
    write_measured(
        "accuracy.md",
        "accuracy",
        "How far the numbers are from the authors'",
        INTRO,
        table(("fixture", "quantity", "tolerance", *ENGINES), sorted(rows)),
        table(("fixture", "quantity", "tolerance", "NumPy"), sampler_rows()),
        table(("fixture", "quantity", "tolerance, levels", "levels"), picture_rows()),
    )


if __name__ == "__main__":
    asyncio.run(main())
