"""The benchmark.

python -m tests.bench [PART...] [--quick] [--out FOLDER]

Each part leaves its runs in FOLDER/PART.json, and the report is made of all that are there: it can
be measured part by part. With --quick everything is tried, and nothing worth knowing is found out.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench import baseline, hollow, machine, plots, report, streams
from tests.support.paths import ROOT

OUT = ROOT / "docs" / "benchmarks"
CHECKPOINT = ROOT / "export" / "demo" / "checkpoint"
REPOSITORY = ROOT / "export" / "demo" / "model_repository"


async def measure_hollow(quick: bool, folder: Path) -> dict[str, Any]:
    plan = hollow.QUICK if quick else hollow.Plan()
    runs = await hollow.measure(plan, folder)
    return {"plan": asdict(plan), "runs": [asdict(run) for run in runs]}


async def measure_streams(quick: bool, folder: Path) -> dict[str, Any]:
    plan = streams.QUICK if quick else streams.Plan()
    return {"plan": asdict(plan), **asdict(await streams.measure(plan, REPOSITORY, folder))}


async def measure_baseline(quick: bool, folder: Path) -> dict[str, Any]:
    plan = baseline.QUICK if quick else baseline.Plan()
    runs = await baseline.measure(plan, CHECKPOINT, REPOSITORY, folder)
    return {"plan": asdict(plan), "runs": [asdict(run) for run in runs]}


PARTS: Mapping[str, Callable[[bool, Path], Coroutine[Any, Any, dict[str, Any]]]] = {
    "hollow": measure_hollow,
    "streams": measure_streams,
    "baseline": measure_baseline,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--quick", action="store_true", help="whether everything works, in a minute"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.parts or PARTS:
        facts, before = machine.facts(), machine.Used.now()
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(PARTS[name](options.quick, Path(folder)))
        # After all that the part started has ended.
        others = machine.others_share(before, machine.Used.now(), facts["cores"])
        content = {"part": name, "quick": options.quick, "facts": facts, "others": others, **found}
        (options.out / f"{name}.json").write_text(json.dumps(_rounded(content)) + "\n")
    found = {
        name: json.loads(path.read_text())
        for name in PARTS
        if (path := options.out / f"{name}.json").exists()
    }
    plots.draw(found, options.out)
    (options.out / "README.md").write_text(report.page(found))


def _rounded(content: Any) -> Any:
    """Returns it with numbers of six digits, since clocks are no better."""
    match content:
        case float():
            return float(f"{content:.6g}")
        case dict():
            return {key: _rounded(value) for key, value in content.items()}
        case list() | tuple():
            return [_rounded(value) for value in content]
        case _:
            return content


if __name__ == "__main__":
    main()
