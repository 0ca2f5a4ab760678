"""All scores as tables, in groups, and what was not computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from expunge.reports.reading import Reading, Value, is_attack
from expunge.reports.svg import number
from expunge.reports.words import Label, counted, model, words

GROUPS: dict[str, Callable[[str], bool]] = {
    "Membership inference": is_attack,
    "Forget quality": lambda label: label.startswith("forget_quality"),
    "Tasks of lm_eval": lambda label: label.startswith("lm_eval("),
    "Forget set": lambda label: Label.parse(label).split == "forget",
    "Utility": lambda label: True,
}
ORDER = ("Forget set", "Forget quality", "Membership inference", "Utility", "Tasks of lm_eval")


class Row(NamedTuple):
    """One metric: its recorded name, a number for each model, its size, direction, and further numbers."""

    label: str
    values: list[Value]
    n: str
    records: str
    direction: str
    details: str


def groups(reading: Reading) -> list[tuple[str, list[Row]]]:
    """Returns the rows of each group that has any."""
    found: dict[str, list[Row]] = {name: [] for name in ORDER}
    for label in reading.labels:
        group = next(name for name, belongs in GROUPS.items() if belongs(label))
        found[group].append(_row(reading, label))
    return [(name, rows) for name, rows in found.items() if rows]


def _row(reading: Reading, label: str) -> Row:
    scores = [score for role in reading.roles if (score := reading.score(label, role)) is not None]
    last = scores[-1]
    records = last.get("records", last["n"])
    clustered = records != last["n"]
    size = counted(last["n"], "subject" if clustered else "record")
    details = "; ".join(
        f"{model(score['role'])}: {', '.join(_detail(*pair) for pair in score['details'].items())}"
        for score in scores
        if score["details"]
    )
    values = [reading.value(label, role) for role in reading.roles]
    return Row(label, values, size, counted(records, "record") if clustered else "", last["direction"], details)


def _detail(name: str, value: float | None) -> str:
    return f"{words(name)} {'not measured' if value is None else number(value)}"


def omitted(reading: Reading) -> list[tuple[str, list[str]]]:
    """Returns the reasons for what was not computed, each with the metrics (and models) it holds for."""
    by_reason: dict[str, list[str]] = {}
    for item in reading.record.omitted:
        by_reason.setdefault(item["reason"], []).append(f"{item['label']} for {item['role']}")
    return list(by_reason.items())
