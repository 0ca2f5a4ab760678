"""The rows of a suite that has some, in its order: a number for each model, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from expunge.reports.reading import Reading, Value, value_of
from expunge.reports.sections.attacks import title_of, worst_row


class EightRow(NamedTuple):
    """One row: its number and name, the metrics that read it with a number for each model, or why it is absent.

    ``attacks``: titles of the attacks that read it, with what they bring back beyond the retrained model.
    """

    number: int
    name: str
    metrics: list[tuple[str, list[Value]]]
    absent: str
    attacks: list[tuple[str, Value]]


def rows(reading: Reading) -> list[EightRow]:
    """Returns the rows of the record's suite; empty for a suite without any."""
    return [_row(reading, number, row) for number, row in enumerate(reading.record.rows, start=1)]


def _row(reading: Reading, number: int, row: Mapping[str, Any]) -> EightRow:
    labels: list[str] = row["labels"]
    known = [label for label in labels if any(reading.value(label, role).known for role in reading.roles)]
    metrics = [(label, [reading.value(label, role) for role in reading.roles]) for label in known]
    read = _recoveries(reading, row.get("attacks", ()))
    absent = "" if metrics or read else row["absent"] or _why(reading, labels, row.get("attacks", ()))
    return EightRow(number, row["name"], metrics, absent, read)


def _recoveries(reading: Reading, names: Sequence[str]) -> list[tuple[str, Value]]:
    """The worst of all ways in which each attack was run."""
    read = []
    for name in names:
        ways = [(one, worst_row(one)) for one in reading.record.attacks if one["name"] == name]
        told = [(title_of(one), value_of(row["rho"])) for one, row in ways if row is not None and row["rho"]]
        read += sorted(told, key=lambda found: found[1].value)[-1:]
    return read


def _why(reading: Reading, labels: list[str], attacks: Sequence[str]) -> str:
    """What the record says of metrics and attacks none of which has a number."""
    reasons = dict.fromkeys(item["reason"] for item in reading.record.omitted if item["label"] in labels)
    rows = (worst_row(attack) for attack in reading.record.attacks if attack["name"] in attacks)
    reasons |= dict.fromkeys(row["reason"] for row in rows if row is not None and row["reason"])
    return "; ".join(reasons) or "not measured"
