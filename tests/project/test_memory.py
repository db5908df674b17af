"""What docs/memory.md states of the weights."""

from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import make_tiny
from export.onnx.trace import write_onnx
from export.planning.sizes import builds, weights_bytes
from export.precision.policy import Precision
from tests.reports.markdown import DOCS
from tests.reports.memory import PAGE, PRECISIONS, weights_table

pytestmark = pytest.mark.slow


def test_the_page_has_the_table_that_the_code_makes() -> None:
    assert weights_table() in (DOCS / PAGE).read_text()


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("denoiser", "fp16"),
        ("denoiser", "fp8"),
        *(("text_encoder", precision) for precision in PRECISIONS),
    ],
)
def test_a_file_is_as_large_as_the_weights(tmp_path: Path, name: str, precision: Precision) -> None:
    make_tiny(tmp_path, seed=0)
    checkpoint = Checkpoint(tmp_path)
    exportable = builds(checkpoint, precision)[name](checkpoint)
    write_onnx(exportable, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    stored = sum(numpy_helper.to_array(weight).nbytes for weight in graph.initializer)
    assert stored == pytest.approx(weights_bytes(exportable.module), rel=0.02)
