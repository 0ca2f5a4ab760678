"""``expunge compare``: the scores of several runs side by side, with what they differ in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from expunge.cli.output import complain, document, say

if TYPE_CHECKING:
    from expunge.reports.comparison import Comparison

_LEAST = 9  # characters of the longest number, such as -1.23e-05


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run folders; differences are from the first.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write a page, such as compare.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Compare the scores and settings of several runs."""
    from expunge.workflows.compare import compare as work  # not from the api, which takes seconds to load torch

    comparison = work(runs, out)
    if as_json:
        document(comparison.to_plain())
    else:
        for line in lines(comparison):
            say(line)
    if out is not None:
        complain(f"The page is {out}.")


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
    return found


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _cells(texts: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(f"{text:>{width}}" for text, width in zip(texts, widths, strict=True))
