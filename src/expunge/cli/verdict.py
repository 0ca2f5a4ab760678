"""The end of a job: what was found, as a table on a terminal and as numbers in the ``done`` event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from expunge.cli.output import complain

if TYPE_CHECKING:
    from expunge.workflows.finished import Finished

NOT_MET = 3  # exit code of a verdict that a policy does not accept
WIDTH = 62  # characters of a metric's name


def summary_of(finished: Finished) -> dict[str, Any]:
    """Shows the scores and the verdict on stderr and returns the summary of the job."""
    run, record = finished
    if record is None:
        return {"run": run.root}
    for line in score_lines(record):
        complain(line)
    verdict = record["verdict"]
    complain("")
    complain(f"Verdict: {verdict['word']}")
    for reason in verdict["reasons"]:
        complain(f"  {reason}")
    for finding in verdict["findings"]:
        complain(f"Found: {finding['name']}")
    found = {"run": run.root, "report": run.report, "verdict": verdict["word"]}
    accepted, met = record["policy"].get("accept"), record["policy"].get("met")
    if met is False:
        complain(f"The policy is not met: it accepts {', '.join(accepted)}.")
    return found if met is None else {**found, "policy_met": met, "exit_code": 0 if met else NOT_MET}


def score_lines(record: Mapping[str, Any]) -> list[str]:
    """One line for each metric, one column for each model."""
    roles = record["columns"]
    values: dict[str, dict[str, float]] = {}
    for score in record["scores"]:
        values.setdefault(score["label"], {})[score["role"]] = score["value"]
    lines = ["", " " * WIDTH + "".join(f"{role:>12}" for role in roles)]
    for label, row in values.items():
        cells = "".join(f"{row[role]:>12.3g}" if role in row else f"{'-':>12}" for role in roles)
        lines.append(f"{label[:WIDTH]:<{WIDTH}}{cells}")
    return lines
