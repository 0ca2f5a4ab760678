"""The scores of a record as CSV, every digit, and as a LaTeX table."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

from expunge.reports.reading import Reading, Value, value_of
from expunge.reports.record import RunRecord
from expunge.reports.svg import number
from expunge.storage.plain import to_json

COLUMNS = ("label", "role", "value", "low", "high", "n", "records", "unit", "direction", "details")
GAP_COLUMNS = ("gap", "gap_low", "gap_high")
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def to_csv(record: RunRecord) -> str:
    """Returns one line for each score, with every digit that the record has.

    An empty cell is a number that does not exist (no interval, no retrained model), ``nan`` one that could not be
    measured; ``details`` is JSON; ``gap`` is the difference from the retrained model.
    """
    gaps = {(gap["label"], gap["role"]): gap for gap in record.gaps}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*COLUMNS, *GAP_COLUMNS])
    for score in record.scores:
        gap = gaps.get((score["label"], score["role"]))
        bounds = [None] * 3 if gap is None else [gap[name] for name in ("value", "low", "high")]
        cells = [to_json(score[name]) if name == "details" else score[name] for name in COLUMNS]
        writer.writerow([_cell(cell) for cell in (*cells, *bounds)])
    return stream.getvalue()


def _cell(value: Any) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def to_latex(record: RunRecord) -> str:
    """Returns a table for the package booktabs: a row for each metric, a column for each model, three digits."""
    reading = Reading(record)
    lines = [
        "% Needs \\usepackage{booktabs}. Intervals are 95 %.",
        f"\\begin{{tabular}}{{l{'r' * len(reading.roles)}r}}",
        "\\toprule",
        _line(["Metric", *(escape_latex(role.replace("_", " ")) for role in reading.roles), "$n$"]),
        "\\midrule",
    ]
    for label in reading.labels:
        scores = [reading.score(label, role) for role in reading.roles]
        size = max(score["n"] for score in scores if score is not None)
        lines.append(_line([escape_latex(label), *(_number(value_of(score)) for score in scores), str(size)]))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def escape_latex(text: str) -> str:
    """Returns text in which no character means anything to LaTeX; line ends, which could end a cell, are spaces."""
    return "".join(_ESCAPES.get(character, character) for character in " ".join(text.split()))


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _number(value: Value) -> str:
    if not value.known:
        return "--"
    interval = "" if value.low is None or value.high is None else f" [{_plain(value.low)}, {_plain(value.high)}]"
    return _plain(value.value) + interval


def _plain(value: float) -> str:
    """Three significant digits; a power of ten in LaTeX's own way."""
    if not math.isfinite(value):
        return "--"
    digits, separator, power = number(value).partition("e")
    return f"${digits} \\cdot 10^{{{int(power)}}}$" if separator else f"${digits}$" if value < 0 else digits
