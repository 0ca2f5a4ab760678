"""Running a job: progress as a moving bar on a terminal, as plain lines elsewhere, as JSON lines under ``--json``."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from expunge.cli.lines import Display, JsonLines, PlainLines, Silent
from expunge.cli.output import failure, reserved_stdout
from expunge.cli.pace import At, Pace
from expunge.config import to_plain
from expunge.errors import ExpungeWarning
from expunge.storage.events import Event
from expunge.storage.progress import PROGRESS

Work = Callable[["Progress"], Mapping[str, Any] | None]


class Progress:
    """What a job tells while it works; workflows call these five methods and know nothing of the command line.

    Args:
        display: how it is shown.
    """

    def __init__(self, display: Display, clock: Callable[[], float] = time.monotonic) -> None:
        self._display, self._clock = display, clock
        self._at = At("")
        self._pace = Pace(None, clock)
        self.exit_code: int | None = None  # set by ``done``

    def phase(self, name: str, total: int | None = None, done: int | None = None) -> None:
        """Begins a part of the job.

        Args:
            name: such as ``train`` or ``audit``.
            total: number of steps, where it is known.
            done: steps that an earlier call took; None where the first metric will tell.
        """
        self._at = At(name, done or None, total)
        self._pace = Pace(done, self._clock)
        self._display.phase(self._at)

    def metric(self, step: int | None = None, **numbers: float) -> None:
        """Reports numbers after ``step`` steps of the phase; never text."""
        self._show(step, self._at.total, "", numbers)

    def step(self, step: int, total: int | None, part: str = "") -> None:
        """Reports how many steps are done, of how many, and what is under way; no record text."""
        at = self._at
        if (step, total) != (at.step, at.total) or (step != total and part and part != at.part):
            self._show(step, total, part, {})

    def _show(self, step: int | None, total: int | None, part: str, numbers: Mapping[str, float]) -> None:
        if step is not None:
            self._pace.note(step)
        left = None if step is None else self._pace.left(total)
        self._at = At(self._at.name, step, total, "" if step == total else part, numbers, left)
        self._display.metric(self._at)

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
        """Shows a phase, step, metric or warning of a run's log; a listener for ``RunFolder``."""
        data = event.data
        if event.kind == "phase":
            self.phase(str(data.get("name", "")), data.get("total"), data.get("done"))
        elif event.kind == "metric":
            numbers = {
                name: value for name, value in data.items() if name != "step" and isinstance(value, (int, float))
            }
            self._show(data.get("step"), self._at.total, "", {**data.get("terms", {}), **numbers})
        elif event.kind == PROGRESS:
            self.step(data["step"], data["total"], str(data.get("part", "")))
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
def shown_progress() -> Iterator[Progress]:
    """Yields the progress of a command whose answer is a document: it is shown on stderr alone, without a summary."""
    with _display(as_json=False) as display:
        progress = Progress(display)
        yield progress
        progress.done()


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
