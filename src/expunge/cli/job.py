"""Running a job: progress as a moving bar on a terminal, as plain lines elsewhere, as JSON lines under ``--json``."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

import typer

import expunge
from expunge.cli.output import complain, duration, failure, position, readable, reserved_stdout, summarise
from expunge.config import to_plain
from expunge.errors import ExpungeWarning
from expunge.storage.events import Event
from expunge.storage.plain import to_json

INTERVAL = 5.0  # seconds between plain lines about numbers
Work = Callable[["Progress"], Mapping[str, Any] | None]


class Display(Protocol):
    """One way to show progress. Every text it is given may hold control characters."""

    def launch(self, job: str, fields: Mapping[str, Any]) -> None: ...  # noqa: D102
    def phase(self, name: str, total: int | None) -> None: ...  # noqa: D102
    def metric(self, step: int | None, numbers: Mapping[str, float]) -> None: ...  # noqa: D102
    def warning(self, text: str) -> None: ...  # noqa: D102
    def done(self, exit_code: int, summary: Mapping[str, Any]) -> None: ...  # noqa: D102


class Progress:
    """What a job tells while it works; workflows call these five methods and know nothing of the command line.

    Args:
        display: how it is shown.
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self.exit_code: int | None = None  # set by ``done``

    def phase(self, name: str, total: int | None = None) -> None:
        """Begins a part of the job.

        Args:
            name: such as ``train`` or ``audit``.
            total: number of steps, where it is known.
        """
        self._display.phase(name, total)

    def metric(self, step: int | None = None, **numbers: float) -> None:
        """Reports numbers after ``step`` steps of the phase; never text."""
        self._display.metric(step, numbers)

    def warning(self, text: str) -> None:
        """Tells something that the user should know and that does not stop the job; no record text."""
        self._display.warning(text)

    def done(self, *, exit_code: int = 0, **summary: Any) -> None:
        """Ends the job; the first call counts.

        Args:
            exit_code: of the command; see ``expunge.cli.output``.
            summary: plain data, settings and paths that sum up what was done; no record text.
        """
        if self.exit_code is None:
            self.exit_code = exit_code
            self._display.done(exit_code, {name: to_plain(value) for name, value in summary.items()})

    def listen(self, event: Event) -> None:
        """Shows a phase, metric or warning of a run's log; a listener for ``RunFolder``."""
        data = event.data
        if event.kind == "phase":
            self.phase(str(data.get("name", "")), data.get("total"))
        elif event.kind == "metric":
            numbers = {
                name: value for name, value in data.items() if name != "step" and isinstance(value, (int, float))
            }
            self._display.metric(data.get("step"), {**data.get("terms", {}), **numbers})
        elif event.kind == "warning":
            self.warning(str(data.get("text", "")))


def run_job(job: str, work: Work, *, as_json: bool = False, **launch: Any) -> None:
    """Runs a job and shows its progress; the last thing shown is always that it is done, with the exit code.

    Args:
        job: name of the subcommand.
        work: the job; a mapping it returns is its summary, unless it calls ``Progress.done`` itself.
        as_json: JSON lines on stdout, and nothing else there.
        launch: what to tell before the work begins, such as ``run=out``.

    Raises:
        typer.Exit: with the exit code that ``done`` was given.
        BaseException: whatever ``work`` raised; ``expunge.cli.output.guard`` turns it into a message.
    """
    with _display(as_json) as display, _our_warnings(display):
        display.launch(job, {name: to_plain(value) for name, value in launch.items()})
        progress = Progress(display)
        try:
            summary = work(progress)
        except BaseException as error:
            told = failure(error)
            if as_json:  # elsewhere the message on stderr is enough
                progress.done(exit_code=told.exit_code, error=told.message)
            raise
        progress.done(**(summary or {}))
    if progress.exit_code:
        raise typer.Exit(progress.exit_code)


@contextmanager
def _display(as_json: bool) -> Iterator[Display]:
    # accelerate and torchrun start one process for each device; the first one speaks.
    if int(os.environ.get("RANK", "0")):
        with reserved_stdout():
            yield Silent()
    elif as_json:
        with reserved_stdout() as write:
            yield JsonLines(write)
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from expunge.cli.bar import moving_bar  # rich takes a while to load

        with moving_bar() as bar:
            yield bar
    else:
        yield PlainLines()


@contextmanager
def _our_warnings(display: Display) -> Iterator[None]:
    """Shows ``ExpungeWarning`` as a warning of the job while it runs; other warnings go where they went before."""
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, ExpungeWarning):
                display.warning(str(message))
            else:
                before(message, category, *place, **more)

        warnings.showwarning = show
        yield


class JsonLines:
    """One JSON object a line: ``{"event": ..., "time": ..., ...}``.

    Args:
        write: writes one line to stdout.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def _emit(self, event: str, fields: Mapping[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._write(to_json({"event": event, "time": now, **fields}))

    def launch(self, job: str, fields: Mapping[str, Any]) -> None:
        """Tells what begins, before any work."""
        self._emit("launch", {"job": job, "version": expunge.__version__, "pid": os.getpid(), **fields})

    def phase(self, name: str, total: int | None) -> None:
        """Tells the part of the job that begins."""
        self._emit("phase", {"name": name, "total": total})

    def metric(self, step: int | None, numbers: Mapping[str, float]) -> None:
        """Tells numbers; those that are not finite as ``expunge.storage.plain`` writes them."""
        self._emit("metric", {"step": step, "numbers": dict(numbers)})

    def warning(self, text: str) -> None:
        """Tells a warning."""
        self._emit("warning", {"text": text})

    def done(self, exit_code: int, summary: Mapping[str, Any]) -> None:
        """Tells that nothing follows."""
        self._emit("done", {"exit_code": exit_code, "summary": dict(summary)})


class PlainLines:
    """Lines on stderr for logs: phases and warnings at once, numbers every few seconds; the summary on stdout.

    Args:
        clock: seconds, going up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shown_at = float("-inf")
        self._pending = ""
        self._phase = ""
        self._total: int | None = None
        self._began = (0.0, 0)  # when the first step of the phase was shown, and which one it was

    def launch(self, job: str, fields: Mapping[str, Any]) -> None:
        """Shows nothing; a person knows what they typed."""

    def phase(self, name: str, total: int | None) -> None:
        """Shows the last numbers of the phase before and the name of this one."""
        self._flush()
        self._phase, self._total = name, total
        self._shown_at, self._began = float("-inf"), (0.0, 0)
        complain(name if total is None else f"{name} ({total} steps)")

    def metric(self, step: int | None, numbers: Mapping[str, float]) -> None:
        """Shows numbers, unless some were shown just now; the last ones of a phase are always shown."""
        left = self._time_left(step)
        self._pending = f"{self._phase} {position(step, self._total)}{readable(numbers)}{left}".strip()
        if self._clock() - self._shown_at >= INTERVAL:
            self._flush()

    def warning(self, text: str) -> None:
        """Shows a warning."""
        complain(f"warning: {text}")

    def done(self, exit_code: int, summary: Mapping[str, Any]) -> None:
        """Shows the last numbers and the summary."""
        self._flush()
        summarise(summary)

    def _time_left(self, step: int | None) -> str:
        """Time that the rest of the phase takes at its speed so far; empty until two steps are done."""
        now, (since, first) = self._clock(), self._began
        if step is None or self._total is None:
            return ""
        if not first:
            self._began = (now, step)
            return ""
        if step <= first or step >= self._total:
            return ""
        return f"  ({duration((now - since) / (step - first) * (self._total - step))} left)"

    def _flush(self) -> None:
        if self._pending:
            complain(self._pending)
            self._pending = ""
            self._shown_at = self._clock()


class Silent:
    """Shows nothing but warnings; for the processes of a launch other than the first."""

    def launch(self, job: str, fields: Mapping[str, Any]) -> None:
        """Nothing."""

    def phase(self, name: str, total: int | None) -> None:
        """Nothing."""

    def metric(self, step: int | None, numbers: Mapping[str, float]) -> None:
        """Nothing."""

    def warning(self, text: str) -> None:
        """Shows a warning, since no other process need have it."""
        complain(f"warning: {text}")

    def done(self, exit_code: int, summary: Mapping[str, Any]) -> None:
        """Nothing."""
