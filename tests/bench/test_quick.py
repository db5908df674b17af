"""The benchmark works: nothing is asserted about how long anything takes."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.checkpoint.layout import Checkpoint
from tests.bench.__main__ import CHECKPOINT, PARTS, REPOSITORY
from tests.bench.baseline import SPEC_OF_ONE_LENGTH, AuthorsEngine
from tests.bench.reading import traces_of
from tests.support.onnx_engine import OnnxEngine
from tests.support.paths import ROOT
from tests.support.talking import film, held_out_clip
from tests.support.toy_triton import find_installation

pytestmark = pytest.mark.slow


def test_the_quick_version_measures_every_part_and_loses_no_stream(tmp_path: Path) -> None:
    find_installation()
    command = [sys.executable, "-m", "tests.bench", "--quick", "--out", str(tmp_path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    page = (tmp_path / "README.md").read_text()
    for name in PARTS:
        assert (tmp_path / f"{name}.svg").read_text().startswith("<?xml")
        assert f"({name}.svg)" in page
    found = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in PARTS}
    assert {part["quick"] for part in found.values()} == {True}
    traces = [trace for run in found["streams"]["runs"] for trace in traces_of(run)]
    assert traces
    assert [trace.lost for trace in traces if trace.lost] == []
    assert all(run["message_bytes"]["denoiser"] for run in found["hollow"]["runs"])


async def test_both_ways_of_the_baseline_make_the_same_film() -> None:
    clip = held_out_clip(0, 1.0)
    spec = replace(SPEC_OF_ONE_LENGTH, ladder=(9,))
    theirs, ours = [
        await film(engine, REPOSITORY, clip.picture, clip.samples, spec=spec)
        for engine in (AuthorsEngine(Checkpoint(CHECKPOINT)), OnnxEngine(REPOSITORY))
    ]
    assert np.abs(theirs.astype(np.int16) - ours).max() <= 1
