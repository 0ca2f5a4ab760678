"""What a job said of its phases, and whether its totals were right."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from expunge.storage.events import Event


@dataclass
class Seen:
    """One phase as it was shown: its total at the end, and the steps that were told."""

    name: str
    total: int | None
    done: int
    steps: list[int] = field(default_factory=list)


def of_json(output: str) -> list[Seen]:
    """Phases of the JSON lines of a command."""
    lines = (json.loads(line) for line in output.splitlines())
    return _phases((one["event"], one) for one in lines)


def of_events(events: Iterable[Event]) -> list[Seen]:
    """Phases of what a listener heard."""
    return _phases((event.kind, event.data) for event in events)


def check(found: list[Seen]) -> None:
    """Every phase knows its total, begins with what was done before, never goes back or beyond, and ends there."""
    assert found
    for phase in found:
        assert phase.total is not None, phase
        assert phase.steps[-1:] == [phase.total], phase
        assert phase.steps == sorted(phase.steps), phase
        assert phase.done <= phase.steps[0], phase


def _phases(told: Iterable[tuple[str, Any]]) -> list[Seen]:
    found: list[Seen] = []
    for kind, data in told:
        if kind == "phase":
            found.append(Seen(data["name"], data.get("total"), data.get("done") or 0))
        elif kind in ("metric", "progress"):
            found[-1].steps.append(data["step"])
            found[-1].total = data.get("total", found[-1].total)
    return found
