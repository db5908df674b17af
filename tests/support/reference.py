"""Reads the reference numbers: inputs, weights and outputs of the authors' own program."""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tests.support.paths import ROOT

Arrays = dict[str, NDArray[Any]]

REDUCED = Path(__file__).parent / "reduced_reference"
"""What `python -m tests.support.reduce_reference` keeps of the reference, for clones without it."""


def reference_folder() -> Path:
    """Returns the reference folder, or skips the test that asked where it is absent."""
    folder = _stated_folder()
    if not folder.is_dir():
        pytest.skip(f"no reference numbers at {folder}; set REFERENCE_DIR")
    return folder


@dataclass(frozen=True)
class ReferenceFixture:
    """One folder of the reference."""

    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        return json.loads((self.folder / "config.json").read_text())

    @cached_property
    def inputs(self) -> Arrays:
        return load_file(self.folder / "inputs.safetensors")

    @cached_property
    def outputs(self) -> Arrays:
        return load_file(self.folder / "outputs.safetensors")

    def weights(self, name: str = "weights.safetensors") -> Arrays:
        return load_file(self.folder / name)


def reference_fixture(name: str) -> ReferenceFixture:
    """Returns one folder of the reference by its name."""
    return ReferenceFixture(reference_folder() / name)


def reference_numbers(name: str) -> ReferenceFixture:
    """Returns one folder of the reference, or what the reduced set keeps of it."""
    folder = _stated_folder()
    return ReferenceFixture((folder if folder.is_dir() else REDUCED) / name)


def _stated_folder() -> Path:
    default = ROOT.parent / "shared" / "reference"
    return Path(os.environ.get("REFERENCE_DIR", default))


def assert_close(actual: NDArray[Any], expected: NDArray[Any], tolerance: float) -> None:
    """Asserts equal shape and |actual - expected| <= tolerance (1 + |expected|) everywhere."""
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance, strict=False)
    assert np.shape(actual) == np.shape(expected)
