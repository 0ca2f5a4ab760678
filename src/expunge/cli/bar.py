"""Progress of a job as a moving bar on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

from rich.console import Console
from rich.live import Live
from rich.text import Text

from expunge.cli.output import clean, duration, readable, summarise
from expunge.cli.pace import At

WIDE, NARROW = 24, 12  # characters of the bar; narrow below 100 columns
SMALL = 60  # columns below which there is no bar
LEAST = 14  # characters that what follows the times keeps beside a long name; it goes where there is no room for it
EVERY = 8.0  # times a second that the line is drawn


@contextmanager
def moving_bar() -> Iterator[Bar]:
    """Yields the display; the terminal is put right again afterwards, also after an error."""
    bar = Bar(Console(stderr=True))
    with bar.live:
        try:
            yield bar
        finally:
            bar.stop()


class Bar:
    """One moving line for the phase that is under way; those that are over stand above it.

    Args:
        console: the terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._at: At | None = None
        self._began = self._told = 0.0
        self.live = Live(console=console, get_renderable=self._moving, refresh_per_second=EVERY, transient=True)

    def launch(self, job: str, fields: Mapping[str, Any]) -> None:
        """Shows nothing; a person knows what they typed."""

    def phase(self, at: At) -> None:
        """Begins a line; the one before stays as it is."""
        self.stop()
        self._begin(at)

    def metric(self, at: At) -> None:
        """Moves the bar."""
        if self._at is None:
            self._begin(at)
        self._at, self._told = at, time.monotonic()
        if at.is_last:
            self.stop()

    def warning(self, text: str) -> None:
        """Shows a warning above the line."""
        self._console.print(Text(f"warning: {clean(text)}", style="yellow"), soft_wrap=True)

    def done(self, exit_code: int, summary: Mapping[str, Any]) -> None:
        """Stops the bar and prints the summary below it."""
        self.stop()
        self.live.stop()
        summarise(summary)

    def stop(self) -> None:
        """Leaves the line as it is and begins no other."""
        if self._at is not None:
            at, self._at = self._at, None
            self.live.refresh()  # or the moving line would be drawn once more below what is printed
            self._console.print(line_of(at._replace(left=None), self._shape, time.monotonic() - self._began))

    def _begin(self, at: At) -> None:
        self._at, self._began = at, time.monotonic()
        self._told = self._began

    @property
    def _shape(self) -> Shape:
        return Shape(self._console.width, ascii_only=self._console.options.ascii_only)

    def _moving(self) -> Text:
        at, now = self._at, time.monotonic()
        if at is None:
            return Text("")
        left = None if at.left is None else max(0.0, at.left - (now - self._told))
        return line_of(at._replace(left=left), self._shape, now - self._began)


class Shape(NamedTuple):
    """A terminal: columns, and whether it shows plain letters only."""

    columns: int
    ascii_only: bool = False


def line_of(at: At, shape: Shape, seconds: float) -> Text:
    """Returns the line of a phase: name, bar, steps, times, and what is under way, cut to the terminal.

    Args:
        at: where the job is.
        shape: of the terminal.
        seconds: since the phase began.
    """
    middle = Text(" ").join(part for part in _middle(at, shape, seconds) if part)
    tail = clean("  ".join(filter(None, (at.part, readable(at.numbers)))))
    room = shape.columns - middle.cell_len - 1
    kept = min(LEAST, len(tail)) if room > 2 * LEAST else 0
    name, end = Text(clean(at.name)), Text(tail)
    _cut(name, max(0, room - kept - bool(kept)), shape)
    line = Text(" ").join(part for part in (name, middle) if part)
    rest = shape.columns - line.cell_len - 1
    if tail and rest >= kept > 0:
        _cut(end, rest, shape)
        line = Text(" ").join((line, end))
    line.no_wrap, line.overflow = True, "crop"
    return line


def _middle(at: At, shape: Shape, seconds: float) -> Iterator[Text]:
    """Bar, steps done of all steps, time since the beginning and time left."""
    total, step = at.total, at.step or 0
    is_small = shape.columns < SMALL
    if total is not None and total > 1 and not is_small:
        width = WIDE if shape.columns >= 100 else NARROW
        full, empty = ("#", "-") if shape.ascii_only else ("━", "╌")
        filled = width * min(step, total) // total
        yield Text.assemble((full * filled, "green" if step >= total else "cyan"), (empty * (width - filled), "dim"))
    if total is not None and (total > 1 or step):
        yield Text(f"{step}/{total}")
    elif step:
        yield Text(str(step))
    if at.left is None or shape.columns >= 100:
        yield Text(str(timedelta(seconds=int(seconds))), style="dim")
    if at.left is not None:
        yield Text(f"{duration(at.left)} left", style="cyan")


def _cut(text: Text, width: int, shape: Shape) -> None:
    """Shortens a text in place."""
    if text.cell_len > width:
        mark = "..." if shape.ascii_only else "…"
        text.truncate(max(0, width - len(mark)))
        text.append(mark[:width])
