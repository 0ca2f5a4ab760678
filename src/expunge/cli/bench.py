"""``expunge bench``: methods over seeds, one table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expunge.cli import options
from expunge.cli.job import Progress, run_job
from expunge.cli.output import complain
from expunge.config import Choice, read_settings_file
from expunge.errors import InputError

if TYPE_CHECKING:
    from expunge.api import Request


def bench(
    methods: Annotated[str, typer.Option("--methods", help="Names with commas between them; see: list methods.")],
    model: Annotated[
        str | None, typer.Argument(help="Your own model, with --forget; without it the benchmark trains its models.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of everything; run again, the bench goes on.")] = Path(
        "runs/bench"
    ),
    seeds: Annotated[str, typer.Option("--seeds", help="How many, or numbers with commas (one: 4,).")] = "3",
    preset: Annotated[str, typer.Option("--preset", help="Size of the benchmark fictional.")] = "bench",
    settings: Annotated[
        Path | None, typer.Option("--settings", help="YAML or JSON file: settings by method, such as npo: {beta: 0.1}.")
    ] = None,
    forget: options.Forget = None,
    retain: options.Retain = None,
    holdout: options.Holdout = None,
    split: options.Splits = None,
    retrained: options.Retrained = None,
    suite: options.Suite = "quick",
    max_length: options.MaxLength = 512,
    columns: options.Columns = None,
    system: options.System = None,
    template: options.Template = None,
    thinking: options.Thinking = None,
    date: options.Date = None,
    allow_rejected: options.AllowRejected = False,
    allow_overlap: options.AllowOverlap = False,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes at a time; all cores.", min=1)] = None,
    as_json: options.Json = False,
) -> None:
    """Compare methods over several seeds, and write one table from the records of all runs."""
    flags = locals()  # before any other name is set
    names = tuple(name.strip().replace("-", "_") for name in methods.split(",") if name.strip())

    if model is None and options.rendering(flags):
        raise InputError(
            "--system, --template, --thinking and --date belong to a model of your own; the benchmark's models are "
            "asked as they were trained. Name a model, or leave them out."
        )

    def work(progress: Progress) -> dict[str, Any]:
        from expunge.api import BenchRequest
        from expunge.api import bench as run
        from expunge.reports.bench import table

        finished = run(
            BenchRequest(
                out=out,
                methods=names,
                seeds=parse_seeds(seeds),
                benchmark=Choice("fictional", {"preset": preset}),
                own=None if model is None else _own(flags),
                settings=read_settings_file(settings) if settings is not None else {},
                suite=suite,
                workers=workers,
            ),
            (progress.listen,),
        )
        for line in aligned(table(finished.rows)):
            complain(line)
        return {"run": finished.run.root, "results": finished.run.root / "results.md"}

    run_job("bench", work, as_json=as_json, out=out)


PLAIN = ("model", "out", "forget", "retain", "holdout", "max_length", "allow_rejected", "allow_overlap")


def _own(flags: Mapping[str, Any]) -> Request:
    """The user's own model and records."""
    from expunge.api import Request

    return Request(
        **{name: flags[name] for name in PLAIN},
        retrained=tuple(flags["retrained"] or ()),
        evaluation=options.named_files(flags["split"]),
        columns=options.columns(flags["columns"]),
        **options.rendering(flags),
    )


def parse_seeds(text: str) -> tuple[int, ...]:
    """Reads ``3`` (0, 1 and 2), ``4,7``, or ``4,`` for one seed of a number."""
    try:
        numbers = tuple(int(part) for part in text.removesuffix(",").split(","))
    except ValueError:
        raise InputError(f"--seeds takes a number, or numbers with commas between them, not {text!r}.") from None
    return numbers if "," in text else tuple(range(numbers[0]))


def aligned(lines: list[list[str]]) -> list[str]:
    """Pads the cells of a table to columns."""
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
