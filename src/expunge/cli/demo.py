"""``expunge demo``: the whole way on invented persons, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from expunge.cli import options
from expunge.cli.job import Progress, run_job
from expunge.cli.output import complain
from expunge.cli.verdict import summary_of


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for data, models, run and report.")] = Path("runs/demo"),
    preset: Annotated[
        str,
        typer.Option("--preset", help="Size of the benchmark: demo, or smoke, which is quicker and decides nothing."),
    ] = "demo",
    seed: Annotated[int, typer.Option("--seed", help="Seed of persons and training.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Train a small model on invented persons, make it forget some, audit and report."""

    def work(progress: Progress) -> dict[str, Any]:
        from expunge.api import demo as run

        finished = run(out, preset=preset, seed=seed, listeners=(progress.listen,))
        summary = summary_of(finished)
        complain(f"\nReport: {finished.run.report}")
        return summary

    run_job("demo", work, as_json=as_json, out=out)
