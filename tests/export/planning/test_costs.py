"""What is expected of an export, and what one takes."""

from dataclasses import replace
from pathlib import Path

import pytest

from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import PUBLIC, TINY, make_tiny
from export.planning.plan import make_plan
from tests.reports.exports import measure

LAYERS = 4
"""Of CLIP's 32: heavy enough to be told from torch itself."""


@pytest.mark.slow
def test_an_export_takes_no_more_than_expected_and_not_much_less(tmp_path: Path) -> None:
    clip = {**PUBLIC.others["image_encoder_kwargs"], "vision_layers": LAYERS}
    make_tiny(
        tmp_path, seed=0, sizes=replace(TINY, others={**TINY.others, "image_encoder_kwargs": clip})
    )
    (planned,) = (
        each
        for each in make_plan(Checkpoint(tmp_path), 10**11, asked="fp32").networks
        if each.network == "image_encoder"
    )
    taken = measure(tmp_path, tmp_path / "repository", "image_encoder", "fp32")
    assert taken["peak_bytes"] <= planned.peak_bytes <= 2 * taken["peak_bytes"]
    assert taken["bytes"] == pytest.approx(planned.file_bytes, rel=0.02)
