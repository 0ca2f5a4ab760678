"""No command leaves a trace of the records: not in the run, nor in temporary folders, caches or the home folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from expunge.storage.events import read_events
from tests.support.canary import find_canary
from tests.workflows.conftest import CANARY
from tests.workflows.test_unlearn import arguments

PLACES = ("HOME", "HF_HOME", "TMPDIR", "XDG_CACHE_HOME", "EXPUNGE_HOME", "TORCHINDUCTOR_CACHE_DIR")


@pytest.fixture
def places(tmp_path) -> dict[str, str]:
    """An environment in which everything that a library may write lands in the test's own folders."""
    found = {}
    for name in PLACES:
        folder = tmp_path / "places" / name
        folder.mkdir(parents=True)
        found[name] = str(folder)
    return {**os.environ, **found, "OMP_NUM_THREADS": "1"}


def start(places: dict[str, str], *command: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "expunge", *command],
        env={**places, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> None:
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err[-2000:]
    assert CANARY.lower() not in (out + err).lower()


@pytest.mark.slow
def test_killed_resumed_audited_and_planned(world, places, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    run = work / "run"
    command = arguments(world, run, "--holdout", str(world.holdout))
    killed = start(places, *command, cwd=work)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and killed.poll() is None:
        if any(event.kind == "metric" for event in read_events(run / "events.jsonl")):
            break
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    out, err = killed.communicate()
    assert CANARY.lower() not in (out + err).lower()
    assert (run / "checkpoints").is_dir()  # it was killed on the way
    assert find_canary(tmp_path, CANARY) == []
    finish(start(places, *command, cwd=work))
    files = ["--forget", str(world.forget), "--retain", str(world.retain), "--max-length", "64"]
    finish(start(places, "audit", str(run), *files, "--holdout", str(world.holdout), cwd=work))
    finish(
        start(places, "audit", world.model, *files, "--original", world.base, "--out", str(work / "audit"), cwd=work)
    )
    finish(start(places, "plan", world.model, *files, cwd=work))
    finish(start(places, "audit", str(run), "--forget", str(world.retain), cwd=work), code=2)
    assert find_canary(tmp_path, CANARY) == []


@pytest.mark.slow
def test_a_crash_shows_no_record(world, places, tmp_path):
    """A bug while the records are in memory: exit code 1, and neither traceback nor message has their text."""
    script = (
        "import sys, expunge.workflows.unlearn as module\n"
        "def broken(work): raise RuntimeError(str(work.splits['forget'][0].answer.reveal()))\n"
        "module.produce = broken\n"
        "from expunge.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments(world, tmp_path / "run")],
        env=places,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert CANARY.lower() not in (done.stdout + done.stderr).lower()
    assert find_canary(tmp_path, CANARY) == []
