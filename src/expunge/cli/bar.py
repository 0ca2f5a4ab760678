"""Progress of a job as a moving bar on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from expunge.cli.output import clean, readable, summarise


@contextmanager
def moving_bar() -> Iterator[Bar]:
    """Yields the display; the terminal is put right again afterwards, also after an error."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bar(progress)


class Bar:
    """One bar for each phase, with the latest numbers behind it.

    Args:
        progress: the running display of rich.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def launch(self, job: str, fields: Mapping[str, Any]) -> None:
        """Shows nothing; a person knows what they typed."""

    def phase(self, name: str, total: int | None) -> None:
        """Begins a bar; the one before stops."""
        self._begin(name, total)

    def metric(self, step: int | None, numbers: Mapping[str, float]) -> None:
        """Moves the bar."""
        task = self._begin("", None) if self._task is None else self._task
        self._progress.update(task, completed=step, numbers=clean(readable(numbers)))

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
        self._task = self._progress.add_task(clean(name), total=total, numbers="")
        return self._task

    def _stop(self) -> None:
        if self._task is not None:
            self._progress.stop_task(self._task)
