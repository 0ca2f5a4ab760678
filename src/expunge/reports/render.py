"""The report: one HTML file with everything in it, no script, readable in print, light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from expunge.reports.record import RunRecord
from expunge.reports.svg import Dot, dot_chart, line_chart, number
from expunge.storage import atomic

MEANINGS = {
    "not known": "The original model does not know the forget set either, so there is nothing to remove.",
    "not removed": "The model knows the forget set about as well as before.",
    "removed": "On everything tried, the model cannot be told from one that never saw the records.",
    "suppressed": "The answers are gone, but attacks bring them back.",
    "partly removed": "The model knows less than before, and more than a model that never saw the records.",
    "exposed": "The records stand out by being less likely than records never seen: who looks for that finds them.",
    "damaged": "The model lost too much of what it should keep.",
    "not verifiable": "What is at hand does not suffice to say whether the records are gone.",
}
GROUPS: dict[str, Callable[[str], bool]] = {
    "Forget set": lambda label: "split=forget" in label and not label.startswith(("mia_", "forget_quality")),
    "Distance to the retrained model": lambda label: label.startswith("forget_quality"),
    "Membership inference": lambda label: label.startswith("mia_"),
    "Utility": lambda label: True,
}
DIRECTIONS = {"lower": "lower is better", "higher": "higher is better", "closer": "closer to retrained is better"}
CHARTED = ("extraction_strength(", "exact_memorisation(", "probability(", "rouge(", "mia_")


class Cell(NamedTuple):
    """One number of the table, with its interval as text."""

    value: str
    interval: str


class Row(NamedTuple):
    """One metric of the table."""

    label: str
    cells: list[Cell]
    n: str
    direction: str
    details: str


def render(record: RunRecord) -> str:
    """Returns the report as HTML text."""
    return _template().render(
        record=record,
        meaning=MEANINGS.get(record.verdict["word"], ""),
        groups=_groups(record),
        dots=Markup(_dots(record)),  # noqa: S704 - built by expunge.reports.svg, which escapes
        curves=Markup(_curves(record)),  # noqa: S704
        legend=list(enumerate(record.columns)),
        terms=list(enumerate(_terms(record))),
        omitted=_omitted(record),
    )


def write_report(folder: Path, record: RunRecord) -> Path:
    """Writes ``report.html`` into a run folder."""
    path = folder / "report.html"
    atomic.write_text(path, render(record))
    return path


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("expunge.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja")


def shown(value: float | None) -> str:
    """A number as the report shows it: three significant digits."""
    return "not measured" if value is None or math.isnan(value) else number(value)


def _groups(record: RunRecord) -> list[tuple[str, list[Row]]]:
    found: dict[str, list[Row]] = {name: [] for name in GROUPS}
    for label in dict.fromkeys(score["label"] for score in record.scores):
        group = next(name for name, belongs in GROUPS.items() if belongs(label))
        found[group].append(_row(record, label))
    return [(name, rows) for name, rows in found.items() if rows]


def _row(record: RunRecord, label: str) -> Row:
    by_role = {score["role"]: score for score in record.scores if score["label"] == label}
    cells = [_cell(by_role.get(role)) for role in record.columns]
    last = list(by_role.values())[-1]
    records = last.get("records", last["n"])
    count = f"{last['n']} subjects, {records} records" if records != last["n"] else str(last["n"])
    details = ", ".join(f"{name} {number(value)}" for name, value in last["details"].items())
    return Row(label, cells, count, DIRECTIONS[last["direction"]], details)


def _cell(score: Mapping[str, Any] | None) -> Cell:
    if score is None:
        return Cell("-", "")
    interval = "" if score["low"] is None else f"{shown(score['low'])} to {shown(score['high'])}"
    return Cell(shown(score["value"]), interval)


def _dots(record: RunRecord) -> str:
    rows = []
    for label in dict.fromkeys(score["label"] for score in record.scores):
        if label.startswith(CHARTED) and "split=forget" in label:
            dots = [
                Dot(
                    score["role"],
                    float("nan") if score["value"] is None else score["value"],
                    score["low"],
                    score["high"],
                )
                for score in record.scores
                if score["label"] == label
            ]
            rows.append((_short(label), dots))
    return dot_chart(rows, record.columns, title="Forget metrics of each model, 0 to 1") if rows else ""


def _short(label: str) -> str:
    """Name and form only, for the narrow side of a chart."""
    name, _, settings = label.partition("(")
    form = next(
        (part.removeprefix("form=") for part in settings.rstrip(")").split(", ") if part.startswith("form=")), ""
    )
    return name if form in ("", "trained") else f"{name}, {form.replace('_', ' ').replace('paraphrased', 'para.')}"


def _terms(record: RunRecord) -> list[str]:
    return list(dict.fromkeys(name for point in record.run["curves"] for name in point["terms"]))


def _curves(record: RunRecord) -> str:
    series = {
        name: [(float(point["step"]), point["terms"][name]) for point in record.run["curves"] if name in point["terms"]]
        for name in _terms(record)
    }
    return line_chart(series, title="Terms of the loss over the steps", x_label="optimizer step") if series else ""


def _omitted(record: RunRecord) -> list[tuple[str, list[str]]]:
    """Reasons, each with the metrics (and models) it holds for."""
    by_reason: dict[str, list[str]] = {}
    for item in record.omitted:
        by_reason.setdefault(item["reason"], []).append(f"{item['label']} for {item['role']}")
    return list(by_reason.items())
