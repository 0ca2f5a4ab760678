"""The end of a job: what was found, as a table on a terminal and as numbers in the ``done`` event."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from expunge.cli.output import complain

if TYPE_CHECKING:
    from expunge.workflows.finished import Finished

NOT_MET = 3  # exit code of a verdict that a policy does not accept
WIDTH = 50  # characters of a metric's name
COLUMN = 12  # characters of a number


def summary_of(finished: Finished) -> dict[str, Any]:
    """Shows the scores and the verdict on stderr and returns the summary of the job."""
    run, record = finished
    if record is None:
        return {"run": run.root}
    for line in (*score_lines(record), *verdict_lines(record)):
        complain(line)
    found = {"run": run.root, "report": run.report, "verdict": record["verdict"]["word"]}
    met = record.get("policy", {}).get("met")
    return found if met is None else {**found, "policy_met": met, "exit_code": 0 if met else NOT_MET}


def verdict_lines(record: Mapping[str, Any]) -> list[str]:
    """The word, each sentence once, what was found by name, advice, what the size leaves open, and the policy."""
    # Imported here, since it loads numpy, which other commands do not need.
    from expunge.reports.reading import Reading
    from expunge.reports.record import from_plain
    from expunge.reports.render import size_sentence
    from expunge.reports.sections.verdict import box

    reading = Reading(from_plain(record))
    found = box(reading)
    return [
        "",
        f"Verdict: {found.word}",
        *(f"  {reason}" for reason in found.reasons),
        *(f"  {name}: {sign}" for name, sign in found.findings),
        *([f"  {found.relative}"] if found.relative else []),
        *(f"  What to try next: {sentence}" for sentence in found.advice),
        *(sentence for sentence in (size_sentence(reading), found.policy) if sentence),
    ]


class _Table(NamedTuple):
    """Numbers by metric and model, and what the metrics are called."""

    values: Mapping[str, Mapping[str, float | None]]
    names: Mapping[str, str]
    roles: Sequence[str]

    def lines(self, labels: Iterable[str]) -> list[str]:
        """One line for each metric."""
        return [f"{self.names[label][:WIDTH]:<{WIDTH}}{self._cells(self.values[label])}" for label in labels]

    def _cells(self, row: Mapping[str, float | None]) -> str:
        known = {role: value for role, value in row.items() if value is not None and not math.isnan(value)}
        return "".join(
            f" {known[role]:>{COLUMN - 1}.3g}" if role in known else f"{'-':>{COLUMN}}" for role in self.roles
        )


def score_lines(record: Mapping[str, Any]) -> list[str]:
    """One line for each metric, one column for each model, then why numbers are missing.

    Under the suite's rows where it has some.
    """
    from expunge.reports.sections.tables import missing
    from expunge.reports.words import names

    of_label: dict[str, list[Mapping[str, Any]]] = {}
    for score in record["scores"]:
        of_label.setdefault(score["label"], []).append(score)
    values = {label: {score["role"]: score["value"] for score in scores} for label, scores in of_label.items()}
    table = _Table(values, names(values), record["columns"])
    rows = record.get("rows", ())
    in_rows = [line for number, row in enumerate(rows, start=1) for line in _row_lines(number, row, table)]
    told = {label for row in rows for label in row["labels"]}
    others = [label for label in values if label not in told]
    between = ["Further metrics"] if rows and others else []
    head = " " * WIDTH + "".join(f" {role:>{COLUMN - 1}}" for role in table.roles)
    why = [(table.names[label], text) for label, scores in of_label.items() if (text := missing(scores))]
    notes = [f"- {name}: {text}" for name, text in why]
    return ["", head, *in_rows, *between, *table.lines(others), *notes]


def _row_lines(number: int, row: Mapping[str, Any], table: _Table) -> list[str]:
    """A row of a suite: its name with its metrics below, or with why it is absent."""
    read = [label for label in row["labels"] if label in table.values]
    why = "" if read else f", absent: {row['absent'] or 'not measured'}"
    return [f"{number}. {row['name']}{why}", *table.lines(read)]
