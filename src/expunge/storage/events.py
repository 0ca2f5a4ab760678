"""The append-only log of a run, ``events.jsonl``: one JSON object a line, numbered from 1, each forced to disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expunge.errors import InputError
from expunge.storage.disk import disk_errors, make_folder, sync_folder, write_all
from expunge.storage.lock import LOCK_NAME, hold
from expunge.storage.plain import from_json, to_json
from expunge.storage.progress import Phases

EVENTS_NAME = "events.jsonl"
EVENTS_LOCK = f".{EVENTS_NAME}{LOCK_NAME}"
_OWN_KEYS = ("seq", "time", "kind")


@dataclass(frozen=True)
class Event:
    """Something that happened in a run.

    Attributes:
        seq: number of the event in its log, from 1 without gaps.
        time: when it was logged, ISO 8601 in UTC.
        kind: what happened: state, phase, metric, warning, ...
        data: numbers and other plain data; never record text.
    """

    seq: int
    time: str
    kind: str
    data: Mapping[str, Any]

    @property
    def plain(self) -> dict[str, Any]:
        """The event as it stands in the log."""
        return {"seq": self.seq, "time": self.time, "kind": self.kind, **self.data}


Listener = Callable[[Event], None]


def showing(listeners: Iterable[Listener]) -> Phases:
    """Returns phases that are told to listeners and logged nowhere, for work that has no run folder."""
    told = list(listeners)

    def tell(kind: str, data: Mapping[str, Any]) -> None:
        for listener in told:
            listener(Event(0, "", kind, data))

    return Phases(tell)


class EventLog:
    """Appends to an event log; several processes may do so at once.

    Nothing is opened or changed before the first append. That one cuts off a torn last line, left by a killed process,
    and goes on with the numbers.

    Args:
        path: the file; created with mode 0600.
        listeners: called with each event of this object once it is on disk.
    """

    def __init__(self, path: Path, listeners: tuple[Listener, ...] = ()) -> None:
        self.path = path
        self.listeners = list(listeners)
        self._end = 0  # bytes of the log that are known to be whole lines
        self._seq = 0  # number of the last event before ``_end``

    def append(self, kind: str, **data: Any) -> Event:
        """Adds one event and returns it when it is on disk.

        Args:
            kind: what happened.
            data: plain data; see ``expunge.storage.plain``.

        Raises:
            TypeError: something that is not plain data, a ``Secret`` in particular, or a name the log uses itself.
            ResourceError: the disk is full; the log is as it was.
            InputError: the log cannot be written to, or is damaged elsewhere than at its end.
        """
        taken = [name for name in _OWN_KEYS if name in data]
        if taken:
            raise TypeError(f"An event has its own {taken[0]!r}; use another name.")
        to_json(data)  # refuses what is not plain before anything is touched
        with disk_errors(self.path.parent):
            make_folder(self.path.parent)
            with hold(self.path):
                event = self._append(kind, data)
        for listener in self.listeners:
            listener(event)
        return event

    def show(self, kind: str, data: Mapping[str, Any]) -> None:
        """Calls the listeners with an event that is not written: of a step that nobody needs to know of later."""
        event = Event(0, "", kind, data)
        for listener in self.listeners:
            listener(event)

    def _append(self, kind: str, data: Mapping[str, Any]) -> Event:
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._catch_up(descriptor)
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            event = Event(self._seq + 1, now, kind, data)
            line = f"{to_json(event.plain)}\n".encode("ascii")
            self._write(descriptor, line)
        finally:
            os.close(descriptor)
        if is_new:
            sync_folder(self.path.parent)
        self._seq, self._end = event.seq, self._end + len(line)
        return event

    def _write(self, descriptor: int, line: bytes) -> None:
        try:
            write_all(descriptor, line)  # one call, unless the disk is full
            os.fsync(descriptor)
        except BaseException:
            os.ftruncate(descriptor, self._end)
            raise

    def _catch_up(self, descriptor: int) -> None:
        """Reads what others have appended since, and cuts off what is not a whole event at the end."""
        size = os.fstat(descriptor).st_size
        if size < self._end:  # purged or cut by another process
            self._end = self._seq = 0
        if size == self._end:
            return
        with self.path.open("rb") as stream:
            stream.seek(self._end)
            lines = _whole_lines(stream.read())
        for line, event in _parse(lines, self._seq):
            self._seq, self._end = event.seq, self._end + len(line)
        if self._end < size:
            os.ftruncate(descriptor, self._end)


class SilentLog(EventLog):
    """The log as the processes of a launch see it that do not lead: what they append goes nowhere."""

    def _append(self, kind: str, data: Mapping[str, Any]) -> Event:
        return Event(0, "", kind, data)


def read_events(path: Path, after: int = 0) -> list[Event]:
    """Returns the events numbered above ``after``; none for a missing file. A torn last line is left out.

    Raises:
        InputError: the log cannot be read, or is damaged elsewhere than at its end.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path.name} in {path.parent} cannot be read: {error.strerror}.") from None
    return [event for _, event in _parse(_whole_lines(content), 0) if event.seq > after]


def _whole_lines(content: bytes) -> list[bytes]:
    """Lines with their line feeds; what follows the last line feed is torn and left out."""
    return [line + b"\n" for line in content.split(b"\n")[:-1]]


def _parse(lines: list[bytes], seq: int) -> Iterator[tuple[bytes, Event]]:
    """Yields whole lines and their events, which follow number ``seq``; a damaged last line is left out."""
    for position, line in enumerate(lines, start=1):
        event = _event(line)
        if event is None or event.seq != seq + 1:
            if position == len(lines) and event is None:
                return
            raise InputError(
                f"Line {seq + 1} of the event log is damaged; the run cannot go on from it. Start a new run."
            )
        seq = event.seq
        yield line, event


def _event(line: bytes) -> Event | None:
    try:
        entry = from_json(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("seq"), int):
        return None
    seq, time, kind = (entry.pop(name, "") for name in _OWN_KEYS)
    return Event(seq, time, kind, entry)
