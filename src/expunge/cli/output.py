"""The output contract of the command line: exit codes, messages that hide record text, and what may stand on stdout.

====  ==========================================================
code  meaning
====  ==========================================================
0     done
1     a bug in Expunge
2     something handed in cannot be used, wrong usage included
3     a policy was given and not met, or the training diverged
4     a digest, signature or ledger does not match
5     not enough memory, disk or time
75    interrupted at a step boundary; the same command resumes
130   aborted with Ctrl-C
====  ==========================================================

Answers go to stdout, progress, warnings and errors to stderr. Under ``--json`` stdout carries JSON and nothing else.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, cast

import typer

from expunge.config import to_plain
from expunge.errors import ExpungeError
from expunge.storage.disk import write_all
from expunge.storage.plain import to_json
from expunge.storage.resources import resource_error

BUG, USAGE, RESOURCES, ABORTED = 1, 2, 5, 130

# Typer carries its own copy of click in some versions and imports click in others; wrong usage is this class in both.
UsageError = cast("type[Exception]", typer.BadParameter.__mro__[2])

_PACKAGE = Path(__file__).parents[1]
_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # operating system command, such as a window title or a link
    r"|\x1b[PX^_].*?(?:\x1b\\|$)"  # device control and other strings
    r"|[\x1b\x9b]\[?[0-?]*[ -/]*[@-~]"  # colours, cursor movement and the rest
)
# Controls except tab and line feed, marks that reorder text (Trojan Source), line separators, halves of surrogates.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


class Failure(NamedTuple):
    """How a command failed: its exit code, and a message that holds no record text."""

    exit_code: int
    message: str


def clean(text: str) -> str:
    """Returns ``text`` without what a terminal would act on: escape sequences, control and reordering characters."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def say(text: str) -> None:
    """Prints an answer on stdout."""
    _print(clean(text))


def complain(text: str) -> None:
    """Prints a message on stderr; a stderr that is gone or full stops nothing."""
    try:
        print(clean(text), file=sys.stderr, flush=True)
    except (OSError, ValueError):  # ValueError: the stream is closed
        return


def document(value: Any) -> None:
    """Prints one JSON document on stdout: settings, mappings, lists, numbers, text; other things are refused."""
    _print(to_json(to_plain(value), indent=2))


def table(rows: Iterable[tuple[str, str]]) -> None:
    """Prints pairs in two columns, the second wrapped at the width of the terminal."""
    pairs = [(clean(name), clean(text)) for name, text in rows]
    left = max((len(name) for name, _ in pairs), default=0) + 2
    width = max(shutil.get_terminal_size().columns - left, 40)
    for name, text in pairs:
        first, *rest = textwrap.wrap(text, width) or [""]
        _print("\n".join([f"{name:<{left}}{first}".rstrip(), *(" " * left + line for line in rest)]))


def position(step: int | None, total: int | None) -> str:
    """Returns ``3/40`` or ``3`` and a blank, or nothing without a step."""
    if step is None:
        return ""
    return f"{step} " if total is None else f"{step}/{total} "


def duration(seconds: float) -> str:
    """Returns a time such as ``12 s``, ``3 min`` or ``2.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def readable(numbers: Mapping[str, float]) -> str:
    """Returns numbers with four digits, such as ``loss 1.234  retain 0.5``."""
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def summarise(summary: Mapping[str, Any]) -> None:
    """Prints a summary on stdout, one name a line."""
    table(
        (name.replace("_", " "), value if isinstance(value, str) else to_json(value)) for name, value in summary.items()
    )


def _print(text: str) -> None:
    with _reader_may_leave():
        print(text)


def _flush() -> None:
    with _reader_may_leave():
        sys.stdout.flush()


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """Sends stdout nowhere once its reader, such as ``head``, has seen enough; that is not a failure."""
    try:
        yield
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def failure(error: BaseException) -> Failure:
    """Returns exit code and message for anything that was raised. Only the text of our own errors is shown."""
    if isinstance(error, ExpungeError):
        return Failure(error.exit_code, str(error))
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return Failure(ABORTED, "aborted.")
    if isinstance(error, UsageError):
        return Failure(USAGE, _usage(error))
    if (lacking := resource_error(error)) is not None:
        return Failure(lacking.exit_code, str(lacking))
    hidden = "Its text is hidden, since it may hold record text; the same command with --debug shows it."
    return Failure(BUG, f"This is a bug in Expunge: {type(error).__name__}{_place(error)}. {hidden}")


def guard(work: Callable[[], Any], *, debug: bool = False) -> int:
    """Runs a command and returns its exit code, whatever happens; failures are told on stderr.

    Args:
        work: the command; an int it returns is the exit code.
        debug: show tracebacks. They may hold record text.
    """
    try:
        code = work()
        _flush()
    except typer.Exit as leave:
        return leave.exit_code
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else BUG if leave.code else 0
    except BaseException as error:
        return _tell(error, debug=debug)
    return code if isinstance(code, int) else 0


@contextmanager
def reserved_stdout() -> Iterator[Callable[[str], None]]:
    """Keeps stdout for the function it yields, which writes one line; everything else goes to stderr meanwhile.

    Libraries, child processes and C code write to file descriptor 1 behind Python's back, so the descriptor itself is
    turned. A reader that goes away does not stop a job: further lines are dropped.
    """
    _flush()
    try:
        standard = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):  # stdout is captured by whoever called this from Python
        own = sys.stdout
        with redirect_stdout(sys.stderr):
            yield lambda line: print(line, file=own)
        return
    kept = os.dup(standard)
    os.dup2(2, standard)
    try:
        yield _line_writer(kept)
    finally:
        sys.stdout.flush()  # to stderr, where it belongs
        os.dup2(kept, standard)
        os.close(kept)


def _line_writer(descriptor: int) -> Callable[[str], None]:
    is_open = True

    def write(line: str) -> None:
        nonlocal is_open
        if is_open:
            try:
                write_all(descriptor, f"{line}\n".encode("ascii"))
            except BrokenPipeError:
                is_open = False

    return write


def _tell(error: BaseException, *, debug: bool) -> int:
    found = failure(error)
    if debug:
        complain("".join(traceback.format_exception(error)))
    complain(f"error: {found.message}")
    return found.exit_code


def _usage(error: Any) -> str:
    """Text of an error about wrong usage, with the command that helps."""
    message = error.format_message()
    command = error.ctx.command_path if getattr(error, "ctx", None) else "expunge"
    return f"{message} Try: {command} --help"


def _place(error: BaseException) -> str:
    """The last line of our own code that the error passed, such as `` in training/loop.py, line 88``."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _PACKAGE in Path(frame.filename).parents]
    return (
        f" in {Path(frames[-1].filename).relative_to(_PACKAGE).as_posix()}, line {frames[-1].lineno}" if frames else ""
    )
