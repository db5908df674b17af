"""What a container cannot serve is refused in a line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from export.__main__ import app
from export.checkpoint.tiny import make_tiny
from export.onnx.opsets import Opset
from export.planning.containers import (
    CONTAINERS,
    ContainerError,
    check_container,
    newest_opset,
)


@pytest.mark.parametrize(
    ("container", "newest"),
    [(None, 23), ("26.08", 23), ("25.10", 23), ("25.06", 22), ("25.01", 20)],
)
def test_nothing_newer_is_used_than_a_container_loads(container: str | None, newest: int) -> None:
    assert newest_opset(None, container) == newest
    assert newest_opset(20, container) == 20


def test_every_container_loads_the_oldest() -> None:
    assert all(newest_opset(20, container) == 20 for container in CONTAINERS)


@pytest.mark.parametrize(
    ("asked", "container", "complaint"),
    [
        (23, "25.06", r"25\.06 has ONNX Runtime 1\.22\.0, .* up to 22, not 23: choose --opset 22"),
        (22, "25.01", "up to 21, not 22: choose --opset 20"),
        (20, "24.01", r"24\.01 is not known, only 26\.08"),
    ],
)
def test_an_opset_that_a_container_does_not_load_is_refused(
    asked: Opset, container: str, complaint: str
) -> None:
    with pytest.raises(ContainerError, match=complaint) as caught:
        newest_opset(asked, container)
    assert "\n" not in str(caught.value)


def test_int8_wants_a_container_that_multiplies_it_in_32_bits() -> None:
    check_container("25.10", {"fp32", "int8"})
    check_container("25.06", {"fp32", "fp16"})
    with pytest.raises(ContainerError, match=r"25\.06 .* from 25\.10 on"):
        check_container("25.06", {"int8"})


def test_the_program_refuses_it_in_one_line(tmp_path: Path) -> None:
    make_tiny(tmp_path, seed=0)
    for options, complaint in (
        (["--opset", "21"], "--opset: 21 is none of 20, 22, 23"),
        (["--opset", "23", "--container", "25.06"], "choose --opset 22"),
        (["--precision", "int8", "--container", "25.06"], "from 25.10 on"),
    ):
        result = CliRunner().invoke(app, ["onnx", str(tmp_path), "--plan", *options])
        assert result.exit_code != 0
        said = result.stderr + str(result.exception)
        assert complaint in " ".join(said.split())
