"""Jobs: JSON lines and nothing else on stdout, plain lines, the moving bar, and how each ends."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import typer

import expunge
from expunge.cli.bar import NARROW, WIDE, Shape, line_of
from expunge.cli.job import Progress, run_job
from expunge.cli.lines import INTERVAL, JsonLines, PlainLines
from expunge.cli.output import duration
from expunge.cli.pace import At, Pace
from expunge.errors import DivergedError, ExpungeWarning
from expunge.storage.events import Event
from expunge.storage.plain import from_json

CANARY = "canary-77ae"
Capture = pytest.CaptureFixture[str]

NOISY = """
import os, subprocess, sys, warnings
from expunge.cli.job import run_job
from expunge.cli.output import guard
from expunge.errors import ExpungeWarning, InputError

def work(progress):
    progress.phase("train", total=2)
    print("from print")
    os.write(1, b"from the descriptor\\n")
    subprocess.run(["echo", "from a child"], check=True)
    progress.metric(1, loss=0.5)
    warnings.warn("Two records are equal.", ExpungeWarning)
    sys.stdout.write("unflushed")
    if sys.argv[1] == "own":
        raise InputError("There is no record.")
    if sys.argv[1] == "bug":
        raise ValueError("canary-77ae")
    if sys.argv[1] == "policy":
        progress.done(exit_code=3, verdict="damaged")
    return {"verdict": "removed"}

sys.exit(guard(lambda: run_job("unlearn", work, as_json="--json" in sys.argv, run="out")))
"""


def noisy(ending: str, *flags: str, **more: Any) -> subprocess.CompletedProcess[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(
        [sys.executable, "-c", NOISY, ending, *flags], text=True, timeout=60, check=False, **(pipes | more)
    )


ENDINGS = [
    ("fine", 0, {"verdict": "removed"}),
    ("policy", 3, {"verdict": "damaged"}),
    ("own", 2, {"error": "There is no record."}),
]


@pytest.mark.parametrize(("ending", "code", "summary"), ENDINGS)
def test_json_lines_and_nothing_else(ending: str, code: int, summary: dict[str, Any]) -> None:
    done = noisy(ending, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == code, done.stderr
    assert [event["event"] for event in events] == ["launch", "phase", "metric", "warning", "done"]
    assert all(event.pop("time").endswith("+00:00") for event in events)
    launch, phase, metric, warning, last = events
    assert isinstance(launch.pop("pid"), int)
    assert launch == {"event": "launch", "job": "unlearn", "version": expunge.__version__, "run": "out"}
    assert phase == {"event": "phase", "name": "train", "total": 2, "done": 0}
    assert metric == {"event": "metric", "step": 1, "total": 2, "left": None, "part": "", "numbers": {"loss": 0.5}}
    assert warning == {"event": "warning", "text": "Two records are equal."}
    assert last == {"event": "done", "exit_code": code, "summary": summary}
    for other in ("from print", "from the descriptor", "from a child", "unflushed"):
        assert other in done.stderr


def test_a_bug_ends_the_lines_too_and_hides_its_text() -> None:
    done = noisy("bug", "--json")
    last = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == last["exit_code"] == 1
    assert "ValueError" in last["summary"]["error"]
    assert CANARY not in done.stdout + done.stderr


def test_a_reader_that_leaves_does_not_stop_the_job() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = noisy("policy", "--json", stdout=writer)
    os.close(writer)
    assert done.returncode == 3
    assert "from a child" in done.stderr


def test_only_the_first_process_of_a_launch_speaks() -> None:
    done = noisy("fine", "--json", env={**os.environ, "RANK": "1"})
    assert (done.returncode, done.stdout) == (0, "")
    assert "Two records are equal." in done.stderr


def test_elsewhere_progress_is_on_stderr_and_the_summary_on_stdout() -> None:
    done = noisy("fine")
    lines = done.stderr.splitlines()
    assert lines[0] == "train (2 steps)"
    assert "train 1/2 loss 0.5" in lines
    assert "warning: Two records are equal." in lines
    assert done.stdout.splitlines()[-1].endswith("verdict  removed")
    failed = noisy("own")
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1] == "error: There is no record."


def test_plain_lines_come_every_few_seconds_and_at_the_end_of_a_phase(capsys: Capture) -> None:
    now = [0.0]
    progress = Progress(PlainLines(clock=lambda: now[0]), clock=lambda: now[0])
    progress.phase("train", total=4)
    for step, second in enumerate((0.0, 1.0, INTERVAL, INTERVAL + 1), start=1):
        now[0] = second
        progress.metric(step, loss=step / 8, retain=1e-9)
    progress.phase("audit")
    progress.metric(auc=float("nan"))
    progress.done(numbers={"auc": 0.5}, folder=Path("out"))
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "train (4 steps)",
        "train 1/4 loss 0.125  retain 1e-09",
        "train 3/4 loss 0.375  retain 1e-09  (3 s left)",  # two steps in five seconds, the last one in four, one to go
        "train 4/4 loss 0.5  retain 1e-09",
        "audit",
        "audit auc nan",
    ]
    assert out.splitlines() == ['numbers  {"auc": 0.5}', "folder   out"]


def test_numbers_that_are_not_finite_stay_strict_json() -> None:
    lines: list[str] = []
    Progress(JsonLines(lines.append)).metric(3, loss=float("nan"), event=1.0)
    assert "NaN" not in lines[0]
    found = from_json(lines[0])
    assert found["numbers"]["loss"] != found["numbers"]["loss"]
    assert found["numbers"]["event"] == 1.0
    assert found["event"] == "metric"


def test_text_cannot_start_a_line_or_move_a_terminal() -> None:
    lines: list[str] = []
    Progress(JsonLines(lines.append)).warning('a\n{"event": "done"}\x1b[2J\u202e')
    assert len(lines) == 1
    assert lines[0].isascii()
    assert lines[0].isprintable()


def test_the_first_done_counts() -> None:
    lines: list[str] = []
    progress = Progress(JsonLines(lines.append))
    progress.done(exit_code=3)
    progress.done(exit_code=0)
    assert progress.exit_code == 3
    assert len(lines) == 1


def test_events_of_a_run_are_shown() -> None:
    lines: list[str] = []
    progress = Progress(JsonLines(lines.append))
    for kind, data in (
        ("state", {"state": "running"}),
        ("phase", {"name": "train", "total": 9}),
        ("metric", {"step": 2, "loss": 0.5, "finished": True, "text": "x"}),
        ("warning", {"text": "careful"}),
    ):
        progress.listen(Event(1, "now", kind, data))
    found = [json.loads(line) for line in lines]
    assert [event["event"] for event in found] == ["phase", "metric", "warning"]
    assert found[0]["total"] == 9
    assert (found[1]["step"], found[1]["numbers"]["loss"]) == (2, 0.5)
    assert "text" not in found[1]["numbers"]
    assert found[2]["text"] == "careful"


def test_run_job_raises_what_the_work_raised_and_restores_warnings(capsys: Capture) -> None:
    shown = warnings.showwarning

    def work(progress: Progress) -> None:
        raise DivergedError("The loss is not finite.")

    with pytest.raises(DivergedError):
        run_job("unlearn", work)
    with pytest.raises(typer.Exit) as caught:
        run_job("unlearn", lambda progress: progress.done(exit_code=3))
    assert caught.value.exit_code == 3
    run_job("unlearn", lambda progress: None)
    assert warnings.showwarning is shown
    assert capsys.readouterr() == ("", "")


def test_warnings_of_a_job_reach_its_display_whatever_the_filters(capsys: Capture) -> None:
    def work(progress: Progress) -> None:
        warnings.simplefilter("always")
        warnings.warn("Two records are equal.", ExpungeWarning, stacklevel=1)

    run_job("unlearn", work, as_json=True)
    out, _ = capsys.readouterr()
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["launch", "warning", "done"]


BAR = """
from expunge.cli.job import run_job
def work(progress):
    progress.metric(loss=1)
    progress.phase("tr\\x1b[2Jain [bold]", total=3)
    progress.metric(2, loss=0.25)
    progress.warning("careful [red]\\x1b]0;title\\x07")
    progress.phase("audit")
    return {"verdict": "removed"}
run_job("unlearn", work)
"""


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (9000, "2.5 h")]
)
def test_durations_are_rounded(seconds: float, said: str) -> None:
    assert duration(seconds) == said


LONG = """
import time
from expunge.cli.job import run_job
def work(progress):
    progress.phase("unlearn with a_method_of_a_very_long_name and its axes", total=40)
    for step in range(1, 21):
        progress.metric(step, forget=0.123456, retain=1.25, loss=1.373456)
        time.sleep(0.08)
    progress.phase("read the original model")
    progress.metric(3, records=4.0)
run_job("unlearn", work)
"""


@pytest.mark.parametrize("columns", [80, 120])
def test_the_bar_has_a_width_a_count_and_a_time_left_on_any_terminal(columns: int) -> None:
    text = on_terminal(LONG, columns)[0]
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n").split("\n")]
    assert all(len(line) <= columns for line in lines)
    bar = WIDE if columns >= 100 else NARROW
    moving = [(int(found[1]), line) for line in lines if (found := re.search(r" (\d+)/40 .* left forget 0\.1", line))]
    assert moving
    assert all(line.count("━") >= bar * step // 40 - 1 for step, line in moving)
    assert " 20/40 " in text
    assert "/?" not in text


def on_terminal(script: str, columns: int) -> tuple[str, str]:
    """What a script shows on a terminal, and what it prints on stdout."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "NO_COLOR": "1"}
    started = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    out, _ = started.communicate(timeout=60)
    os.close(ours)
    assert started.returncode == 0, shown.decode()
    return shown.decode(), out.decode()


def test_the_moving_bar_on_a_terminal() -> None:
    text, out = on_terminal(BAR, 120)
    for part in ("train [bold]", "2/3", "loss 0.25", "warning: careful [red]", "audit"):
        assert part in text
    assert "\x1b[2J" not in text
    assert "title" not in text
    assert out == "verdict  removed\n"


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux's way to say that the other side is closed
        return b""


def test_the_time_left_is_that_of_recent_steps_and_counts_down() -> None:
    now = [0.0]
    pace = Pace(10, clock=lambda: now[0])
    assert pace.left(30) is None
    now[0] = 4.0
    pace.note(12)  # those that were done before took no time
    assert pace.left(30) == pytest.approx(18 * 2.0)
    now[0] = 5.0
    assert pace.left(30) == pytest.approx(18 * 2.0 - 1.0)
    now[0] = 400.0  # the step under way is far too long: only those after it are foreseen
    assert pace.left(30) == pytest.approx(17 * 2.0)
    for step in range(13, 30):
        now[0] += 10.0
        pace.note(step)
    assert pace.left(30) == pytest.approx(10.0, rel=0.2)  # and long ago it was 2 s
    pace.note(30)
    assert pace.left(30) is None
    assert pace.left(None) is None


def test_no_time_is_told_before_it_means_something() -> None:
    now = [0.0]
    pace = Pace(0, clock=lambda: now[0])
    now[0] = 0.5
    pace.note(5)
    assert pace.left(9) is None, "half a second"
    now[0] = 1.5
    pace.note(6)
    assert pace.left(9) == pytest.approx(0.75, rel=0.05)
    long = Pace(0, clock=lambda: now[0])
    now[0] = 61.5
    long.note(1)
    assert long.left(3) == pytest.approx(120.0), "one step of a minute tells enough"
    resumed = Pace(None, clock=lambda: now[0])
    now[0] = 70.0
    resumed.note(50)
    assert resumed.left(100) is None, "the first step of a training that goes on only starts the clock"
    now[0] = 72.0
    resumed.note(54)
    assert resumed.left(100) == pytest.approx(23.0)


def test_a_day_of_steps_is_a_few_hundred_plain_lines_and_ends_whole(capsys: Capture) -> None:
    now = [0.0]
    progress = Progress(PlainLines(clock=lambda: now[0]), clock=lambda: now[0])
    progress.phase("read", 86_400, 0)
    for step in range(1, 86_401):
        now[0] = float(step)
        progress.step(step, 86_400, "forget, trained")
    progress.step(86_400, 86_400)  # the end of the phase says so again
    progress.phase("next", 1, 0)
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) < 300
    assert shown[:2] == ["read (86,400 steps)", "read 5/86400 forget, trained  (24.0 h left)"]
    assert shown[-2:] == ["read 86400/86400", "next"]


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120])
def test_a_line_fits_its_terminal_and_keeps_the_count(columns: int) -> None:
    at = At("read the unlearned model (2 of 4)", 640, 1126, "forget, paraphrased question", {}, 61.0)
    line = line_of(at, Shape(columns), 75.0).plain
    assert len(line) <= columns
    assert "640/1126 " in line
    assert "61 s left" in line
    assert ("━" in line) == (columns >= 60)
    assert line.startswith("read the unlearned model (2 of 4)" if columns >= 120 else "read" if columns >= 40 else "")
    assert "━" not in line_of(at, Shape(columns, ascii_only=True), 75.0).plain
    unknown = line_of(At("load the model", None, 1), Shape(columns), 3.0).plain
    assert unknown.endswith("0:00:03")
    assert "0/1" not in unknown
    assert "?" not in line + unknown


def test_phases_that_are_over_stay_above_the_moving_line() -> None:
    """Also where there are more of them than the terminal has lines."""
    script = """
from expunge.cli.job import run_job
def work(progress):
    for number in range(60):
        progress.phase(f"phase {number} of many", 2, 0)
        progress.step(2, 2)
run_job("audit", work)
"""
    text, _ = on_terminal(script, 80)
    assert all(f"phase {number} of many" in text for number in range(60))
    assert text.count("2/2") >= 60
