from __future__ import annotations

import signal
import stat
import subprocess
import sys

import pytest

from expunge.errors import InputError, LockedError
from expunge.storage.lock import LOCK_NAME, hold, lock
from tests.storage.processes import at_once

COUNT = """
import sys, pathlib
from expunge.storage.lock import hold
path = pathlib.Path(sys.argv[1])
sys.stdin.readline()
for _ in range(20):
    with hold(path):
        path.write_text(str(int(path.read_text()) + 1))
"""

TRY = """
import sys, pathlib
from expunge.errors import LockedError
from expunge.storage.lock import lock
sys.stdin.readline()
try:
    with lock(pathlib.Path(sys.argv[1]), "the run folder"):
        print("got it", flush=True)
        sys.stdin.readline()
except LockedError as error:
    print(error)
"""


def other_process(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", TRY, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.stdin.write("\n")
    process.stdin.flush()
    return process


def test_another_process_is_told_at_once(tmp_path):
    with lock(tmp_path / "run", "the run folder"):
        said = other_process(tmp_path / "run").communicate()[0]
    assert said.startswith("Another process is working in the run folder ")
    assert "wait for it or choose another --out" in said
    assert other_process(tmp_path / "run").communicate()[0] == "got it\n"


def test_a_killed_process_gives_the_lock_back(tmp_path):
    process = other_process(tmp_path)
    assert process.stdout.readline() == "got it\n"
    with pytest.raises(LockedError), lock(tmp_path, "the run folder"):
        pytest.fail("two at once")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with lock(tmp_path, "the run folder"):
        pass


def test_the_same_process_cannot_take_it_twice(tmp_path):
    with lock(tmp_path, "the ledger"):
        with pytest.raises(LockedError, match="the ledger"), lock(tmp_path, "the ledger"):
            pytest.fail("two at once")
        with pytest.raises(LockedError), lock(tmp_path, "the ledger"):
            pytest.fail("the failed attempt gave it back")
    with pytest.raises(KeyError), lock(tmp_path, "the ledger"):
        raise KeyError
    with lock(tmp_path, "the ledger"):
        pass


def test_modes_and_names(tmp_path, lax_umask):
    with lock(tmp_path / "a" / "run", "x"), hold(tmp_path / "a" / "log"):
        modes = {
            path.relative_to(tmp_path).as_posix(): oct(stat.S_IMODE(path.stat().st_mode))
            for path in tmp_path.rglob("*")
        }
    assert modes == {"a": "0o700", "a/run": "0o700", f"a/run/{LOCK_NAME}": "0o600", "a/.log.lock": "0o600"}


def test_a_place_where_no_lock_can_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written to"), lock(tmp_path / "file", "x"):
        pytest.fail("not a folder")


def test_eight_processes_lose_no_change(tmp_path):
    path = tmp_path / "counter"
    path.write_text("0")
    at_once(COUNT, [str(path)], 8)
    assert path.read_text() == "160"


def test_of_eight_processes_one_gets_the_lock(tmp_path):
    # Each that gets it keeps it until its input is closed; communicate() closes them in turn, so several may follow.
    said = at_once(TRY, [str(tmp_path)], 8)
    assert "got it\n" in said
    assert all(text == "got it\n" or text.startswith("Another process") for text in said)
