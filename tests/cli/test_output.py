"""Exit codes, messages that hide what they must, clean terminal text, closed pipes."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
import typer

import expunge
from expunge.cli import main
from expunge.cli.app import _command as command
from expunge.cli.app import app
from expunge.cli.environment import ENVIRONMENT
from expunge.cli.output import clean, table
from expunge.errors import (
    DivergedError,
    ExpungeError,
    ExpungeWarning,
    InputError,
    InterruptedRunError,
    LockedError,
    MissingExtraError,
    MissingNeedError,
    ResourceError,
    UnknownNameError,
    UnsafeModelError,
    VerificationError,
)
from expunge.storage.secret import Secret

CANARY = "canary-5d21"
Capture = pytest.CaptureFixture[str]
Plant = Callable[..., None]


@pytest.fixture
def plant() -> Iterator[Plant]:
    """Adds a subcommand ``planted`` that calls a function."""
    before = list(app.registered_commands)

    def add(work: Callable[[], Any], name: str = "planted") -> None:
        app.command(name)(work)
        command.cache_clear()

    yield add
    app.registered_commands[:] = before
    command.cache_clear()


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def work() -> NoReturn:
        raise error

    return work


OWN_ERRORS = [
    (InputError, 2),
    (UnknownNameError, 2),
    (MissingNeedError, 2),
    (UnsafeModelError, 2),
    (MissingExtraError, 2),
    (LockedError, 2),
    (DivergedError, 3),
    (VerificationError, 4),
    (ResourceError, 5),
    (InterruptedRunError, 75),
]


@pytest.mark.parametrize(("error", "code"), OWN_ERRORS)
def test_our_errors_show_their_text_and_set_the_code(
    plant: Plant, capsys: Capture, error: type[ExpungeError], code: int
) -> None:
    plant(raising(error("The file\x1b[31m has 3 lines.")))
    assert main(["planted"]) == code
    assert capsys.readouterr() == ("", "error: The file has 3 lines.\n")


OTHERS = [
    (KeyboardInterrupt(), 130),
    (typer.Abort(), 130),
    (MemoryError(CANARY), 5),
    (type("OutOfMemoryError", (RuntimeError,), {})(CANARY), 5),  # torch's, by name
    (RuntimeError(f"DefaultCPUAllocator: can't allocate memory {CANARY}"), 5),
    (OSError(errno.ENOSPC, CANARY), 5),
    (OSError(errno.EFBIG, CANARY), 5),
    (OSError(errno.EDQUOT, CANARY), 5),
    (OSError(errno.EACCES, CANARY), 1),
    (RuntimeError(CANARY), 1),
    (AssertionError(CANARY), 1),
    (SystemExit(CANARY), 1),
    (SystemExit(4), 4),
    (SystemExit(None), 0),
    (typer.Exit(3), 3),
    (typer.Exit(), 0),
]


@pytest.mark.parametrize(("error", "code"), OTHERS)
def test_other_endings_set_the_code_and_hide_their_text(
    plant: Plant, capsys: Capture, error: BaseException, code: int
) -> None:
    plant(raising(error))
    assert main(["planted"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert CANARY not in err
    assert "Traceback" not in err


def chained() -> NoReturn:
    try:
        {}[CANARY]
    except KeyError as error:
        raise ValueError(f"{CANARY} in {Secret(CANARY, 'record 1').reveal()}") from error


def test_a_bug_names_its_type_and_not_its_text(plant: Plant, capsys: Capture) -> None:
    plant(chained)
    assert main(["planted"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("error: This is a bug in Expunge: ValueError")
    assert "--debug" in err
    assert CANARY not in err


def test_a_bug_names_the_place_in_our_code(plant: Plant, capsys: Capture) -> None:
    plant(lambda: clean(None))  # type: ignore[arg-type]
    assert main(["planted"]) == 1
    assert "TypeError in cli/output.py, line " in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--debug", "planted"], ["planted", "--debug"]])
def test_debug_shows_the_traceback(plant: Plant, capsys: Capture, arguments: list[str]) -> None:
    plant(chained)
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert CANARY in err


def test_debug_behind_two_hyphens_is_an_argument(capsys: Capture) -> None:
    assert main(["show", "--", "--debug"]) == 2
    assert "Nothing is named '--debug'" in capsys.readouterr().err


def test_success_is_zero_and_a_returned_number_is_no_exit_code_of_a_bug(plant: Plant) -> None:
    plant(lambda: None)
    assert main(["planted"]) == 0


WRONG = [
    (["lsit"], "No such command 'lsit'. Did you mean 'list'?"),
    (["list"], "Missing argument"),
    (["list", "methods", "--jsn"], "No such option: --jsn Did you mean --json?"),
    (["list", "methods", "more"], "unexpected extra argument"),
    (["list", "methds"], "There is nothing called 'methds' to list. Did you mean 'methods'"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_usage_is_two_and_says_what_to_do(capsys: Capture, arguments: list[str], message: str) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message.replace("?", "") in err.replace("?", "").replace(
        " (Possible options: --json)", " Did you mean --json"
    )


def test_without_arguments_the_help_is_shown(capsys: Capture) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage: expunge" in err


def test_help_and_version(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    assert "doctor" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"expunge {expunge.__version__}\n"


def test_options_and_commands_take_both_spellings(plant: Plant, capsys: Capture) -> None:
    def planted(
        learning_rate: float = 0.0,
        out_dir: str = typer.Option("", "--out_dir"),
    ) -> None:
        typer.echo(f"{learning_rate} {out_dir}")

    plant(planted, "with-hyphen")
    for name in ("with-hyphen", "with_hyphen"):
        for rate, out in (("--learning-rate", "--out-dir"), ("--learning_rate", "--out_dir")):
            assert main([name, rate, "0.5", f"{out}=a_b-c"]) == 0
            assert capsys.readouterr().out == "0.5 a_b-c\n"


def test_environment_and_umask_are_set_before_the_command(plant: Plant) -> None:
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "0"
    seen: dict[str, Any] = {}

    def work() -> None:
        seen.update({name: os.environ.get(name) for name in ENVIRONMENT}, umask=os.umask(0))
        os.umask(seen["umask"])

    plant(work)
    main(["planted"])
    assert seen == {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "DISABLE_KUBEFLOW_INTEGRATION": "TRUE",
        "TOKENIZERS_PARALLELISM": "false",
        "umask": 0o077,
    }


def test_threads_logs_and_warnings_hide_their_text_too(plant: Plant, capsys: Capture) -> None:
    def work() -> None:
        thread = threading.Thread(target=raising(ValueError(CANARY)))
        thread.start()
        thread.join()
        logging.getLogger("planted").error("%d", CANARY)
        warnings.warn(CANARY, UserWarning, stacklevel=1)
        warnings.warn("Two records are equal.", ExpungeWarning, stacklevel=1)

    logging.getLogger("planted").addHandler(logging.StreamHandler())
    plant(work)
    assert main(["planted"]) == 0
    err = capsys.readouterr().err
    assert CANARY not in err
    assert "a thread stopped with ValueError" in err
    assert "warning: Two records are equal." in err


TERMINAL = [
    ("plain \u00e9 \u4e2d\n\ttext", "plain \u00e9 \u4e2d\n\ttext"),
    ("\x1b[31mred\x1b[0m", "red"),
    ("\x1b[2J\x1b[1;1Hcleared", "cleared"),
    ("\x1b]0;title\x07after", "after"),
    ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("\x1bPdevice\x1b\\after", "after"),
    ("\x9b31mred", "red"),
    ("over\rwrite\x08\x00\x7f", "overwrite"),
    ("\u202edesrever\u202c \u2066x\u2069 \u200f", "desrever x "),
    ("half \ud800 pair", "half  pair"),
    ("open \x1b", "open "),
    ("\x1b\x1b[31mx", "x"),
]


@pytest.mark.parametrize(("text", "shown"), TERMINAL)
def test_terminal_text_is_clean(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_table_wraps_and_cleans(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    table([("a", "word " * 12), ("long", "\x1b[31mred"), ("none", "")])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["a     " + "word " * 8 + "word", "      word word word", "long  red", "none"]


def process(code: str, **more: Any) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], **(pipes | more))


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_failure(unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys; from expunge.cli import main; sys.exit(main(['list', 'metrics']))"
    started = process(code, stdout=writer, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    os.close(writer)
    _, err = started.communicate(timeout=60)
    assert (started.returncode, err) == (0, "")


def test_ctrl_c_is_130_without_a_traceback() -> None:
    code = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has its children ignore it
from expunge.cli import main
from expunge.cli.app import app
def wait():
    print("ready", flush=True)
    time.sleep(60)
app.command("wait")(wait)
sys.exit(main(["wait"]))
"""
    started = process(code)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "Traceback" not in err
