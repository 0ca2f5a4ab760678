"""The pool runs every job once, keeps on after failures, and says when a process dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from expunge.errors import InputError, ResourceError
from expunge.executors.local import LOOK, Job, run_jobs
from expunge.storage.events import Event, Listener


def work(job: Path, listener: Listener) -> None:
    text = job.read_text()
    listener(Event(0, "", "phase", {"name": f"the {text} work", "total": 2, "done": 0}))
    listener(Event(0, "", "metric", {"step": 1, "terms": {"loss": 0.5}}))
    listener(Event(0, "", "warning", {"text": "a secret value"}))
    if text == "input":
        raise InputError("It cannot be used; hand in another.")
    if text == "memory":
        raise MemoryError("a secret value")
    if text == "bug":
        raise KeyError("a secret value")
    if text == "die":
        os._exit(9)
    time.sleep(3 * LOOK)  # until what was sent was looked for
    job.with_suffix(".done").write_text(f"{os.getpid()}")


def jobs(folder: Path, *texts: str) -> list[Job]:
    made = []
    for number, text in enumerate(texts):
        path = folder / f"{number}.job"
        path.write_text(text)
        made.append(Job(text + str(number), path))
    return made


def test_every_job_runs_once_and_failures_stop_no_other(tmp_path):
    made = jobs(tmp_path, "fine", "input", "bug", "fine", "memory")
    heard: list[tuple[str, Event]] = []
    ended = list(run_jobs(made, work, workers=2, hear=lambda job, event: heard.append((job, event))))
    outcomes = {outcome.job: outcome.trouble for outcome in ended}
    codes = {"fine0": 0, "input1": 2, "bug2": 1, "fine3": 0, "memory4": 5}
    assert {outcome.job: outcome.exit_code for outcome in ended} == codes
    assert "ran out of memory" in outcomes["memory4"]
    assert outcomes["fine0"] is outcomes["fine3"] is None
    assert outcomes["input1"] == "It cannot be used; hand in another."
    assert outcomes["bug2"].startswith("a bug: KeyError in test_local.py:")
    assert "secret" not in outcomes["bug2"] + outcomes["memory4"]
    assert [event.data for job, event in heard if job == "fine0"] == [
        {"name": "the fine work", "step": None, "total": 2},
        {"name": None, "step": 1, "total": None},
    ]
    assert "secret" not in repr(heard)
    written = made[0].argument.with_suffix(".done")
    assert int(written.read_text()) != os.getpid()
    assert written.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_dead_process_is_said(tmp_path):
    with pytest.raises(ResourceError, match="fewer --workers"):
        list(run_jobs(jobs(tmp_path, "die"), work))


def sleep(started: Path, listener: Listener) -> None:
    started.write_text(str(os.getpid()))
    time.sleep(300)


@pytest.mark.slow
def test_a_killed_parent_leaves_no_job_behind(tmp_path):
    started = tmp_path / "started"
    script = (
        "from pathlib import Path; from expunge.executors.local import Job, run_jobs;"
        "from tests.executors.test_local import sleep;"
        f"list(run_jobs([Job('sleep', Path({str(started)!r}))], sleep))"
    )
    root = Path(__file__).parents[2]
    places = os.pathsep.join([str(root), *sys.path])
    parent = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": places})
    wait_until(lambda: started.is_file() and started.read_text())
    parent.kill()
    parent.wait()
    wait_until(lambda: not is_running(int(started.read_text())))


def wait_until(holds, seconds=120.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_running(number: int) -> bool:
    status = Path(f"/proc/{number}/status")
    return status.is_file() and "State:\tZ" not in status.read_text()


def test_no_job_is_no_work():
    assert list(run_jobs([], work)) == []
