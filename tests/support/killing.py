"""Kills, or fills the disk of, a piece of code at every single change it makes to the disk.

A server process imports only ``expunge.storage`` and forks once for every trial, which takes milliseconds; forking the
test process itself would copy its threads' locks. In the fork every call of ``os`` that changes the disk is a point to
die at; a write has a second one, after half of its bytes. Killing shows what another process finds. It does not show a
power cut, in which bytes that were not forced to disk are lost: ``trace`` gives the order of calls for tests of that.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

Mode = Literal["kill", "full once", "full from then on", "trace"]
FINISHED = "finished"
KILLED = "killed"

# Calls that need no space go through on a full disk; the others fail there.
_GROWING = ("open", "write", "fsync", "replace", "rename", "link", "mkdir")
_OTHER = ("unlink", "remove", "rmdir", "truncate", "ftruncate", "chmod")


class Trial(NamedTuple):
    """What became of one run of a script.

    Attributes:
        outcome: ``finished``, ``killed``, or the class of the exception that ended it.
        points: number of points passed.
        trace: names of the calls made, with the last part of a path argument; only in mode ``trace``.
        message: text of the exception, with its traceback for errors of the script itself.
    """

    outcome: str
    points: int
    trace: list[str]
    message: str


class Server:
    """Runs scripts in forks of a process that has imported ``expunge.storage`` only."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, script: str, folder: Path, mode: Mode, point: int = 0) -> Trial:
        """Runs ``script``, which sees ``folder`` (a ``Path``); what the mode says happens at ``point``, from 1."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the server has no pipes")
        stdin.write(json.dumps([script, str(folder), mode, point]) + "\n")
        stdin.flush()
        answer = stdout.readline()
        if not answer:
            raise RuntimeError("the server is gone")
        return Trial(*json.loads(answer))


@contextmanager
def server() -> Iterator[Server]:
    """Starts and ends a server."""
    root = Path(__file__).parents[2]
    search = os.pathsep.join([str(root), str(root / "src"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "tests.support.killing"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": search}
    )
    try:
        yield Server(process)
    finally:
        process.communicate()  # closes its input, on which it ends


def kill_at_every_write(
    script: str, check: Callable[[Path, int], None], folder_factory: Callable[[], Path], max_points: int = 400
) -> int:
    """Runs ``script`` again and again, killed by SIGKILL at point 1, 2, ... until it finishes by itself.

    Args:
        script: Python that sees ``folder``, a ``Path``, and everything it imports.
        check: called with the folder and the point after each run, the last one included.
        folder_factory: makes the folder for each run, with what should stand there before.
        max_points: more points than this are an error, since the script would never end.

    Returns:
        Number of points at which it was killed.
    """
    return _at_every_point(script, check, folder_factory, "kill", (KILLED,), max_points)


def fill_disk_at_every_write(
    script: str,
    check: Callable[[Path, int], None],
    folder_factory: Callable[[], Path],
    *,
    stays_full: bool,
    outcomes: tuple[str, ...] = ("ResourceError",),
    max_points: int = 400,
) -> int:
    """As ``kill_at_every_write``, but the point raises ``OSError(ENOSPC)`` (a write after half of its bytes).

    Args:
        script: see ``kill_at_every_write``.
        check: see ``kill_at_every_write``.
        folder_factory: see ``kill_at_every_write``.
        stays_full: every later call that needs space fails too; otherwise only this one.
        outcomes: exceptions with which the script may end.
        max_points: see ``kill_at_every_write``.

    Returns:
        Number of points at which it failed.
    """
    mode: Mode = "full from then on" if stays_full else "full once"
    return _at_every_point(script, check, folder_factory, mode, outcomes, max_points)


def trace(script: str, folder: Path) -> list[str]:
    """Runs ``script`` undisturbed and returns the calls that changed the disk, in order."""
    with server() as running:
        trial = running.run(script, folder, "trace")
    if trial.outcome != FINISHED:
        raise AssertionError(f"the script failed by itself: {trial.message}")
    return trial.trace


def _at_every_point(
    script: str,
    check: Callable[[Path, int], None],
    folder_factory: Callable[[], Path],
    mode: Mode,
    outcomes: tuple[str, ...],
    max_points: int,
) -> int:
    with server() as running:
        for point in range(1, max_points + 1):
            folder = folder_factory()
            trial = running.run(script, folder, mode, point)
            reached = trial.points >= point
            if trial.outcome not in (FINISHED, *outcomes) or (trial.outcome != FINISHED and not reached):
                raise AssertionError(f"point {point}: {trial.outcome}: {trial.message}")
            check(folder, point)
            if not reached:
                return point - 1
    raise AssertionError(f"the script passed more than {max_points} points")


# What follows runs in the server and its forks.


class _Points:
    """Counts points and does at the chosen one what the mode says."""

    def __init__(self, mode: Mode, target: int, pipe: int) -> None:
        self.mode, self.target, self.pipe = mode, target, pipe
        self.passed = 0
        self.trace: list[str] = []
        self.write = os.write
        self.kill = os.kill

    def install(self) -> None:
        for name in (*_GROWING, *_OTHER):
            setattr(os, name, self._wrapped(name, getattr(os, name)))

    def report(self, outcome: str, message: str = "") -> None:
        """Sends the outcome so far; the last report counts."""
        data = json.dumps([outcome, self.passed, self.trace, message]).encode() + b"\n"
        while data:
            data = data[self.write(self.pipe, data) :]

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            grows = name in _GROWING and (name != "open" or bool(arguments[1] & os.O_CREAT))
            if self.mode == "trace":
                self.trace.append(f"{name} {_last(arguments[0])}")
            self._point(grows)
            if name == "write":
                return self._write_in_halves(real, *arguments)
            return real(*arguments, **keywords)

        return call

    def _write_in_halves(self, real: Callable[..., int], descriptor: int, data: bytes) -> int:
        half = len(data) // 2
        self.passed += 1
        if self.passed == self.target and self.mode != "trace":
            written = real(descriptor, memoryview(data)[:half])
            if self.mode == "kill":
                self._die()
            return written  # short, as on a disk with space for that much; the rest meets the next point
        return real(descriptor, data)

    def _point(self, grows: bool) -> None:
        self.passed += 1
        hit = self.passed == self.target
        if hit and self.mode == "kill":
            self._die()
        full = hit or (self.mode == "full from then on" and 0 < self.target < self.passed)
        if full and grows and self.mode.startswith("full"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _die(self) -> None:
        self.report(KILLED)
        self.kill(os.getpid(), signal.SIGKILL)


def _last(argument: object) -> str:
    return Path(os.fspath(argument)).name if isinstance(argument, (str, os.PathLike)) else "-"


def _fork(script: str, folder: str, mode: Mode, point: int) -> str:
    """Runs one trial in a fork and returns the last line it reported."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(script, folder, _Points(mode, point, writing))
    os.close(writing)
    with open(reading, encoding="utf-8") as stream:  # noqa: PTH123  # a descriptor
        lines = stream.read().splitlines()
    os.waitpid(child, 0)
    return lines[-1]


def _child(script: str, folder: str, points: _Points) -> None:
    code = compile(script, "script", "exec")
    points.install()
    try:
        exec(code, {"folder": Path(folder)})
    except BaseException as error:
        points.report(type(error).__name__, f"{error}\n{traceback.format_exc()}")
    else:
        points.report(FINISHED)
    finally:
        os._exit(0)


def _serve() -> None:
    import expunge.storage.run  # noqa: F401  # imported once, for all forks; it imports the rest of the package

    for line in sys.stdin:
        sys.stdout.write(_fork(*json.loads(line)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
