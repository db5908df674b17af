"""Which precisions fit a machine, told by shapes alone, at the public sizes."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import make_tiny
from export.planning.costs import SECONDS
from export.planning.plan import NotEnoughMemoryError, Plan, check_memory, make_plan
from export.precision.policy import Precision
from tests.reports.markdown import DOCS
from tests.reports.memory import PUBLIC_CHECKPOINT

GB = 10**9


def plan(memory_gb: float, asked: Precision | None = None, **others: Precision) -> Plan:
    memory_bytes = round(memory_gb * GB)
    return make_plan(PUBLIC_CHECKPOINT, memory_bytes, asked=asked, others=others)


def refusal(refused: Plan) -> str:
    with pytest.raises(NotEnoughMemoryError) as caught:
        check_memory(PUBLIC_CHECKPOINT, refused)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("memory_gb", "narrow"),
    [
        (128, {}),
        (25, {"text_encoder": "bf16"}),
        (16, {"text_encoder": "bf16", "denoiser": "bf16"}),
    ],
)
def test_a_network_is_narrowed_where_it_would_not_fit(
    memory_gb: float, narrow: Mapping[str, Precision]
) -> None:
    chosen = plan(memory_gb)
    check_memory(PUBLIC_CHECKPOINT, chosen)
    assert {name: p for name, p in chosen.precisions.items() if p != "fp32"} == narrow
    assert chosen.largest.peak_bytes < memory_gb * GB


def test_what_is_asked_is_not_changed_but_refused() -> None:
    asked = plan(25, "fp32")
    assert set(asked.precisions.values()) == {"fp32"}
    assert re.search(r"text_encoder in fp32 .* --text-precision bf16$", refusal(asked))
    check_memory(PUBLIC_CHECKPOINT, plan(25, "fp32", text_encoder="bf16"))
    # Widened to be compared, it takes what it takes in 32 bits.
    assert "text_encoder in fp16" in refusal(plan(25, "fp16"))


def test_what_fits_in_no_precision_is_told_what_it_needs() -> None:
    needed = re.search(r"a machine with (\d+) GB is needed$", refusal(plan(8)))
    assert needed
    check_memory(PUBLIC_CHECKPOINT, plan(int(needed[1])))


def test_a_style_bank_writes_no_text_encoder() -> None:
    bank = make_plan(PUBLIC_CHECKPOINT, 25 * GB, asked="fp8", style_bank=True)
    written = {planned.network: planned.file_bytes for planned in bank.networks}
    assert written["text_encoder"] == 0
    assert written["denoiser"] == pytest.approx(1.96 * GB, rel=0.01)
    assert bank.precisions["text_encoder"] == "bf16"


def test_what_was_measured_is_what_the_page_states() -> None:
    page = (DOCS / "exports.md").read_text()
    row = r"^\| (\w+) \| (\w+) \| (\d+) \| ([\d.]+) \| ([\d,]+) \|"
    rows = re.findall(row, page, re.MULTILINE)
    stated = {
        (name, precision): (int(megabytes.replace(",", "")), int(seconds))
        for name, precision, seconds, _, megabytes in rows
    }
    assert stated == SECONDS
    measured = plan(25, "fp16", text_encoder="bf16").networks
    peaks = {(name, precision): float(peak) for name, precision, _, peak, _ in rows}
    for planned in measured:
        taken = peaks[planned.network, planned.precision]
        assert round(planned.peak_bytes / GB, 1) >= taken, planned.network
    assert {(p.network, p.precision): p.seconds for p in measured} == {
        key: seconds for key, (_, seconds) in SECONDS.items()
    }


def test_a_tiny_checkpoint_stays_in_32_bits(tmp_path: Path) -> None:
    make_tiny(tmp_path, seed=0, variant="preview")
    tiny = Checkpoint(tmp_path)
    small = make_plan(tiny, 4 * GB)
    check_memory(tiny, small)
    assert set(small.precisions.values()) == {"fp32"}
    assert all(planned.seconds is None for planned in small.networks)
