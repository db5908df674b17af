"""`train-demo`: the demo's own weights."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TaskID

from export.cli.console import console
from export.cli.progress import bar


def train_demo(
    checkpoint_dir: Annotated[Path, typer.Argument(help="Folder to write.")],
    work_dir: Annotated[
        Path, typer.Option(help="What the stages keep; a run that was stopped goes on from it.")
    ] = Path("build/demo-training"),
    seed: Annotated[int, typer.Option(help="What everything is drawn from.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Train the demo's checkpoint on drawn faces: about two hours on two cores."""
    import torch

    from export.demo import recipe

    torch.set_num_threads(threads)
    with bar() as progress:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, step: int, steps: int, facts: dict[str, float]) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=steps)
            numbers = ", ".join(f"{name} {number:.3g}" for name, number in facts.items())
            progress.update(tasks[stage], completed=step, description=f"{stage}: {numbers}")

        recipe.train_demo(checkpoint_dir, work_dir, seed=seed, report=report)
    console.print(f"wrote {checkpoint_dir}")
