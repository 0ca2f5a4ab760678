"""``expunge compare``: the scores of several runs side by side, with what they differ in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expunge.cli import options
from expunge.cli.job import Progress, shown_progress
from expunge.cli.output import complain, document, reserved_stdout, say
from expunge.errors import InputError

if TYPE_CHECKING:
    from expunge.reports.comparison import Comparison

_LEAST = 9  # characters of the longest number, such as -1.23e-05


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run folders; differences are from the first.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write a page, such as compare.html.")] = None,
    at_utility: Annotated[
        float | None,
        typer.Option(
            "--at-utility",
            help="Also compare forgetting where each run, mixed with its original in tenths, keeps this share of "
            "utility, such as 0.95; reads eleven models for each run.",
        ),
    ] = None,
    forgetting: Annotated[
        str | None,
        typer.Option(
            "--forgetting", help="With --at-utility: what it is read by, NAME or NAME:key=value. [extraction_strength]"
        ),
    ] = None,
    forget: options.Forget = None,
    benchmark: options.Benchmark = None,
    retain: Annotated[Path | None, typer.Option("--retain", help="Records to keep.")] = None,
    holdout: Annotated[
        Path | None, typer.Option("--holdout", help="As for audit; checked with --at-utility, and not read.")
    ] = None,
    split: options.Splits = None,
    columns: options.Columns = None,
    allow_rejected: options.AllowRejected = False,
    allow_overlap: options.AllowOverlap = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Compare the scores and settings of several runs, also at one utility."""
    given: dict[str, Any] = {
        "forgetting": forgetting,
        "forget": forget,
        "benchmark": benchmark,
        "retain": retain,
        "holdout": holdout,
        "columns": columns,
        "allow_rejected": allow_rejected or None,
        "allow_overlap": allow_overlap or None,
    }
    if at_utility is None:
        _refuse(given, split)
        from expunge.workflows.compare import compare as work  # not from the api, which takes seconds to load torch

        comparison = work(runs, out)
    else:
        with reserved_stdout(), shown_progress() as progress:  # what a library prints is no part of a document
            comparison = _at_utility(runs, out, at_utility, split, given, progress)
    if as_json:
        document(comparison.to_plain())
    else:
        for line in lines(comparison):
            say(line)
    if out is not None:
        complain(f"The page is {out}.")


def _refuse(given: Mapping[str, Any], split: list[str] | None) -> None:
    named = [name for name, value in {**given, "split": split}.items() if value is not None]
    if named:
        flag = named[0].replace("_", "-")
        raise InputError(f"--{flag} is for --at-utility, and without it only the runs' records of scores are read.")


def _at_utility(
    runs: list[Path],
    out: Path | None,
    share: float,
    split: list[str] | None,
    given: Mapping[str, Any],
    progress: Progress,
) -> Comparison:
    from expunge.api import MatchRequest, compare_at_utility

    forgetting = options.choice(given["forgetting"])
    request = MatchRequest(
        at_utility=share,
        forget=given["forget"],
        benchmark=options.choice(given["benchmark"]),
        retain=given["retain"],
        holdout=given["holdout"],
        evaluation=options.named_files(split),
        columns=options.columns(given["columns"]),
        allow_rejected=bool(given["allow_rejected"]),
        allow_overlap=bool(given["allow_overlap"]),
    )
    request = request if forgetting is None else replace(request, metric=forgetting)
    return compare_at_utility(runs, request, out, (progress.listen,))


def lines(comparison: Comparison) -> list[str]:
    """The table for a terminal, every name whole."""
    first, *others = (run.name for run in comparison.runs)
    heads = [column.title for column in comparison.columns] + [f"{name} - {first}" for name in others]
    widths = [2 + max(_LEAST, len(head)) for head in heads]
    labels = 1 + max((len(row.label) for row in comparison.rows), default=0)
    found = [f"{run.name}: {run.record.verdict['word']}" for run in comparison.runs]
    found += [f"note: {note}" for note in comparison.notes]
    found += ["", " " * labels + _cells(heads, widths)]
    for row in comparison.rows:
        numbers = [*(value.value for value in row.values), *row.differences]
        found.append(f"{row.label:<{labels}}" + _cells([_number(value) for value in numbers], widths))
    found += ["", "Settings that differ:" if comparison.settings else "No setting differs."]
    found += [f"  {name}: {' | '.join(value or '-' for value in values)}" for name, values in comparison.settings]
    if comparison.matching is not None:
        from expunge.reports.matched import lines as matched_lines  # not above, so that other verbs start quickly

        found += ["", *matched_lines(comparison.matching)]
    return found


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _cells(texts: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(f"{text:>{width}}" for text, width in zip(texts, widths, strict=True))
