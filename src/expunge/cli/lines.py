"""Progress of a job as lines: JSON for programs, plain ones for logs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import expunge
from expunge.cli.output import complain, duration, position, readable, summarise
from expunge.cli.pace import At
from expunge.storage.plain import to_json

INTERVAL = 5.0  # seconds between plain lines about numbers, at least
SHARE = 0.05  # of the time that a phase has taken, at least: a phase of days has a few hundred lines
JSON_INTERVAL = 1.0  # seconds between JSON lines about steps without numbers


class Display(Protocol):
    """One way to show progress. Every text it is given may hold control characters."""

    def launch(self, job: str, fields: Mapping[str, Any]) -> None: ...  # noqa: D102
    def phase(self, at: At) -> None: ...  # noqa: D102
    def metric(self, at: At) -> None: ...  # noqa: D102
    def warning(self, text: str) -> None: ...  # noqa: D102
    def done(self, exit_code: int, summary: Mapping[str, Any]) -> None: ...  # noqa: D102


class JsonLines:
    """One JSON object a line: ``{"event": ..., "time": ..., ...}``.

    Args:
        write: writes one line to stdout.
        clock: seconds, going up.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._pending: At | None = None
        self._shown_at = float("-inf")

    def _emit(self, event: str, fields: Mapping[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._write(to_json({"event": event, "time": now, **fields}))

    def launch(self, job: str, fields: Mapping[str, Any]) -> None:
        """Tells what begins, before any work."""
        self._emit("launch", {"job": job, "version": expunge.__version__, "pid": os.getpid(), **fields})

    def phase(self, at: At) -> None:
        """Tells the part of the job that begins, its steps, and how many of them an earlier call took."""
        self._flush()
        self._shown_at = self._clock()
        self._emit("phase", {"name": at.name, "total": at.total, "done": at.step or 0})

    def metric(self, at: At) -> None:
        """Tells a step: always one with numbers, and the last; those between at most once in a second.

        Numbers that are not finite are written as ``expunge.storage.plain`` writes them.
        """
        self._pending = at
        if at.numbers or at.is_last or self._clock() - self._shown_at >= JSON_INTERVAL:
            self._flush()

    def warning(self, text: str) -> None:
        """Tells a warning."""
        self._emit("warning", {"text": text})

    def done(self, exit_code: int, summary: Mapping[str, Any]) -> None:
        """Tells that nothing follows."""
        self._flush()
        self._emit("done", {"exit_code": exit_code, "summary": dict(summary)})

    def _flush(self) -> None:
        if self._pending is not None:
            at, self._pending, self._shown_at = self._pending, None, self._clock()
            left = None if at.left is None else round(at.left, 1)
            told = {"step": at.step, "total": at.total, "left": left, "part": at.part, "numbers": dict(at.numbers)}
            self._emit("metric", told)


class PlainLines:
    """Lines on stderr for logs: phases and warnings at once, steps every few seconds; the summary on stdout.

    Args:
        clock: seconds, going up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shown_at = self._began = float("-inf")
        self._pending = ""

    def launch(self, job: str, fields: Mapping[str, Any]) -> None:
        """Shows nothing; a person knows what they typed."""

    def phase(self, at: At) -> None:
        """Shows the last numbers of the phase before, and the name and steps of this one."""
        self._flush()
        self._began, self._shown_at = self._clock(), float("-inf")
        done = f", {at.step:,} of them done" if at.step else ""
        complain(at.name if at.total in (None, 1) else f"{at.name} ({at.total:,} steps{done})")

    def metric(self, at: At) -> None:
        """Shows a step, unless one was shown just now; the last one of a phase is always shown."""
        left = "" if at.left is None else f"  ({duration(at.left)} left)"
        told = "  ".join(filter(None, (at.part, readable(at.numbers))))
        self._pending = f"{at.name} {position(at.step, at.total)}{told}{left}".strip()
        took = self._clock() - self._began
        if self._shown_at == float("-inf") and not at.numbers:
            self._shown_at = self._began  # a phase has just been named; the first numbers are news
        if at.is_last and at.total == 1 and took < INTERVAL:
            self._pending = ""  # the next line says so too
        elif at.is_last or self._clock() - self._shown_at >= max(INTERVAL, SHARE * took):
            self._flush()

    def warning(self, text: str) -> None:
        """Shows a warning."""
        complain(f"warning: {text}")

    def done(self, exit_code: int, summary: Mapping[str, Any]) -> None:
        """Shows the last numbers and the summary."""
        self._flush()
        summarise(summary)

    def _flush(self) -> None:
        if self._pending:
            complain(self._pending)
            self._pending = ""
            self._shown_at = self._clock()


class Silent:
    """Shows nothing but warnings; for the processes of a launch other than the first."""

    def launch(self, job: str, fields: Mapping[str, Any]) -> None:
        """Nothing."""

    def phase(self, at: At) -> None:
        """Nothing."""

    def metric(self, at: At) -> None:
        """Nothing."""

    def warning(self, text: str) -> None:
        """Shows a warning, since no other process need have it."""
        complain(f"warning: {text}")

    def done(self, exit_code: int, summary: Mapping[str, Any]) -> None:
        """Nothing."""
