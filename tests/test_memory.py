"""What docs/memory.md states of the weights."""

from pathlib import Path

import onnx
import pytest

from export.checkpoint import Checkpoint
from export.networks import networks
from export.precision import Precision
from export.tiny import make_tiny
from export.to_onnx import export_network
from tests.reports.markdown import DOCS
from tests.reports.memory import PAGE, PRECISIONS, weights_bytes, weights_table


def test_the_page_has_the_table_that_the_code_makes() -> None:
    assert weights_table() in (DOCS / PAGE).read_text()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_file_is_as_large_as_the_weights(tmp_path: Path, precision: Precision) -> None:
    make_tiny(tmp_path, seed=0)
    exportable = networks(Checkpoint(tmp_path), precision)["text_encoder"](Checkpoint(tmp_path))
    export_network(exportable, tmp_path / "model", lambda *_, **__: None, precision)
    graph = onnx.load(tmp_path / "model" / "1" / "model.onnx").graph
    stored = sum(len(weight.raw_data) for weight in graph.initializer)
    assert stored == pytest.approx(weights_bytes(exportable.module), rel=0.02)
