"""Progress of a job as a moving bar on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from expunge.cli.output import clean, duration, readable, summarise

WIDE, NARROW = 24, 12  # characters of the bar; narrow below 100 columns
REST = 32  # columns that steps, times and gaps take
LEAST = 10  # characters that a name or the numbers keep on any terminal


@contextmanager
def moving_bar() -> Iterator[Bar]:
    """Yields the display; the terminal is put right again afterwards, also after an error."""
    console = Console(stderr=True)
    bar = WIDE if console.width >= 100 else NARROW
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=bar),
        _Steps(),
        TimeElapsedColumn(),
        _TimeLeft(),
        TextColumn("{task.fields[numbers]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        yield Bar(progress, console.width - bar - REST)


class Bar:
    """One bar for each phase, with the latest numbers behind it.

    Args:
        progress: the running display of rich.
        room: columns for the name of the phase and the numbers together; what does not fit is cut off.
    """

    def __init__(self, progress: Progress, room: int) -> None:
        self._progress = progress
        self._room = room
        self._task: TaskID | None = None

    def launch(self, job: str, fields: Mapping[str, Any]) -> None:
        """Shows nothing; a person knows what they typed."""

    def phase(self, name: str, total: int | None) -> None:
        """Begins a bar; the one before stops."""
        self._begin(name, total)

    def metric(self, step: int | None, numbers: Mapping[str, float]) -> None:
        """Moves the bar."""
        task = self._begin("", None) if self._task is None else self._task
        name = self._progress.tasks[-1].description
        shown = _cut(clean(readable(numbers)), max(LEAST, self._room - len(name)))
        self._progress.update(task, completed=step, numbers=shown)

    def warning(self, text: str) -> None:
        """Shows a warning above the bars."""
        self._progress.console.print(Text(f"warning: {clean(text)}", style="yellow"), soft_wrap=True)

    def done(self, exit_code: int, summary: Mapping[str, Any]) -> None:
        """Stops the bars and prints the summary below them."""
        self._stop()
        self._progress.stop()
        summarise(summary)

    def _begin(self, name: str, total: int | None) -> TaskID:
        self._stop()
        shown = _cut(clean(name), max(LEAST, self._room * 2 // 3))
        self._task = self._progress.add_task(shown, total=total, numbers="")
        return self._task

    def _stop(self) -> None:
        if self._task is not None:
            self._progress.stop_task(self._task)


class _Steps(ProgressColumn):
    """Steps done of all steps; without a total only those done."""

    def render(self, task: Task) -> Text:
        done = f"{task.completed:.0f}" if task.completed else ""
        return Text(done if task.total is None else f"{task.completed:.0f}/{task.total:.0f}")


class _TimeLeft(ProgressColumn):
    """Time that the rest of a phase takes at its speed so far; empty where the total is not known."""

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        return Text("" if left is None or task.finished or task.stop_time else f"{duration(left)} left")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
