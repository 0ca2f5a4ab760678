"""The rows of a suite that has some, in its order: a number for each model, or why there is none."""

from __future__ import annotations

from typing import NamedTuple

from expunge.reports.reading import Reading, Value


class EightRow(NamedTuple):
    """One row: its number and name, the metrics that read it with a number for each model, or why it is absent."""

    number: int
    name: str
    metrics: list[tuple[str, list[Value]]]
    absent: str


def rows(reading: Reading) -> list[EightRow]:
    """Returns the rows of the record's suite; empty for a suite without any."""
    return [
        _row(reading, number, row["name"], row["labels"], row["absent"])
        for number, row in enumerate(reading.record.rows, start=1)
    ]


def _row(reading: Reading, number: int, name: str, labels: list[str], absent: str) -> EightRow:
    known = [label for label in labels if any(reading.value(label, role).known for role in reading.roles)]
    metrics = [(label, [reading.value(label, role) for role in reading.roles]) for label in known]
    return EightRow(number, name, metrics, "" if metrics else absent or _why(reading, labels))


def _why(reading: Reading, labels: list[str]) -> str:
    """What the record says of metrics none of which has a number."""
    reasons = dict.fromkeys(item["reason"] for item in reading.record.omitted if item["label"] in labels)
    return "; ".join(reasons) or "not measured"
