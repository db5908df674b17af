"""What an export will write and take, for the operator."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich import filesize

from export.cli.console import console, results

if TYPE_CHECKING:
    from export.planning.plan import Plan


def announce(plan: "Plan") -> None:
    """Says what is about to begin, in lines before the progress."""
    most = Counter(plan.precisions.values()).most_common(1)[0][0]
    others = [f"{name} in {p}" for name, p in plan.precisions.items() if p != most]
    for line in (f"precision: {', '.join([most, *others])}", *_sums(plan)):
        console.print(line, highlight=False, soft_wrap=True)


def show(plan: "Plan") -> None:
    """Prints what each network will take."""
    from rich import box
    from rich.table import Table

    table = Table("network", "precision", box=box.SIMPLE)
    for name in ("file", "peak memory", "one thread takes"):
        table.add_column(name, justify="right")
    for planned in plan.networks:
        table.add_row(
            planned.network,
            planned.precision,
            filesize.decimal(planned.file_bytes) if planned.file_bytes else "style bank",
            filesize.decimal(planned.peak_bytes),
            "not measured" if planned.seconds is None else f"{planned.seconds} s",
        )
    results.print(table)
    for line in _sums(plan):
        results.print(line, soft_wrap=True)


def _sums(plan: "Plan") -> Iterator[str]:
    yield (
        f"about {filesize.decimal(plan.file_bytes)} of files, and at most "
        f"{filesize.decimal(plan.largest.peak_bytes)} of memory (for {plan.largest.network}, "
        f"one network after the other) of {filesize.decimal(plan.memory_bytes)}"
    )
    if any(planned.precision == "bf16" and planned.file_bytes for planned in plan.networks):
        yield "bf16 is for GPUs: ONNX Runtime does not compute in it on a CPU"
