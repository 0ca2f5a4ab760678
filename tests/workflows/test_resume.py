"""How a run ends and goes on: its state, what it leaves behind, and that the next call picks it up."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from expunge.api import unlearn
from expunge.errors import InputError, InterruptedRunError, ResourceError
from expunge.storage.events import Event, read_events
from expunge.storage.run import RunFolder
from expunge.workflows.signals import stop_on_signal
from tests.support.canary import find_canary
from tests.workflows.conftest import CANARY
from tests.workflows.test_audit import QUICK, unlearn_request
from tests.workflows.test_remote import Stub, chat, stub

__all__ = ["stub"]  # the fixture


def leave(run: RunFolder) -> list[Path]:
    """What a process leaves that was killed between saving the model and clearing up."""
    left = [run.checkpoints / "step-000001" / "weights.safetensors", run.helpers / "reinforced" / "weights.safetensors"]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"weights that hold the forget set")
    return left


def states(out: Path) -> list[str]:
    return [event.data["state"] for event in read_events(out / "events.jsonl") if event.kind == "state"]


def at_phase(start: str, act) -> tuple:
    """A listener that acts when the first phase begins whose name starts so."""
    return (lambda event: act() if str(event.data.get("name", "")).startswith(start) else None,)


def test_traces_are_gone_before_a_resumed_run_is_audited(untrained, tmp_path, short_suite):
    out = tmp_path / "run"
    run, _ = unlearn(unlearn_request(untrained, out))
    assert not run.checkpoints.exists()
    left = leave(run)
    seen: list[bool] = []
    look = at_phase("audit", lambda: seen.append(any(path.exists() for path in left)))
    _, record = unlearn(unlearn_request(untrained, out, audit=True, suite=short_suite), look)
    assert record is not None
    assert seen == [False]
    assert not run.checkpoints.exists()
    assert not run.helpers.exists()
    assert [event.kind for event in read_events(run.events_path)].count("saved") == 1


def test_traces_are_gone_even_if_the_audit_fails(untrained, tmp_path, short_suite):
    out = tmp_path / "run"

    def full() -> None:
        raise ResourceError("The disk is full.")

    with pytest.raises(ResourceError):
        unlearn(
            unlearn_request(untrained, out, audit=True, suite=short_suite, settings={**QUICK, "checkpoint_every": 1}),
            at_phase("audit", full),
        )
    assert RunFolder.open(out).state == "failed"
    assert not RunFolder.open(out).checkpoints.exists()


def test_traces_stay_if_they_are_asked_for(untrained, tmp_path):
    out = tmp_path / "run"
    settings = {**QUICK, "checkpoint_every": 1}
    run, _ = unlearn(unlearn_request(untrained, out, keep_helpers=True, settings=settings))
    assert list(run.checkpoints.iterdir())
    unlearn(unlearn_request(untrained, out, keep_helpers=True, settings=settings))
    assert list(run.checkpoints.iterdir())
    unlearn(unlearn_request(untrained, out, settings=settings))
    assert not run.checkpoints.exists()


def fail() -> None:
    raise InputError("It cannot be used.")


def press_control_c() -> None:
    raise KeyboardInterrupt


def send_signal() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


def hang_up_without_a_terminal() -> None:
    hang_up()
    raise OSError(errno.EIO, os.strerror(errno.EIO))  # what a write to the lost terminal raises


@pytest.mark.parametrize("act", [hang_up, hang_up_without_a_terminal])
def test_a_lost_terminal_interrupts_the_run(untrained, tmp_path, act):
    with pytest.raises(InterruptedRunError):
        unlearn(unlearn_request(untrained, tmp_path / "run"), at_phase("unlearn with", act))
    assert states(tmp_path / "run") == ["created", "running", "interrupted"]


def test_a_hang_up_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal() as stop_requested:
            hang_up()
            assert not stop_requested()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_limit_on_file_sizes_ends_with_exit_code_5(tmp_path):
    """In a process of its own, since the limit stays."""
    code = (
        "import resource, sys; from expunge.storage.run import RunFolder; from expunge.cli import environment, output; "
        "environment.prepare(); resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); from pathlib import Path; "
        "sys.exit(output.guard(lambda: RunFolder.create(Path(sys.argv[1]), {'text': 'x' * 200})))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 5
    assert "ulimit -f" in done.stderr


@pytest.mark.parametrize(
    ("act", "error", "state"),
    [
        (fail, InputError, "failed"),
        (press_control_c, KeyboardInterrupt, "interrupted"),
        (send_signal, InterruptedRunError, "interrupted"),
    ],
)
@pytest.mark.parametrize("phase", ["unlearn with", "read the unlearned"])
def test_a_run_that_ends_early_says_how_and_goes_on(untrained, tmp_path, short_suite, phase, act, error, state):
    out = tmp_path / "run"
    request = unlearn_request(
        untrained, out, audit=True, suite=short_suite, settings={**QUICK, "max_steps": 2, "checkpoint_every": 1}
    )
    with pytest.raises(error):
        unlearn(request, at_phase(phase, act))
    assert RunFolder.open(out).state == state
    assert (out / "model").exists() == (phase != "unlearn with")
    _, record = unlearn(request)
    assert record is not None
    assert states(out)[-2:] == (["running", "done"] if phase == "unlearn with" else [state, "done"])


def test_a_run_that_was_stopped_at_the_paraphraser_goes_on(untrained, tmp_path, short_suite, stub: Stub):
    """Ctrl-C or SIGTERM ends it after the text that is being asked; the next run asks for all of them again."""

    def reply(body):
        if len(stub.asked) == 3:
            send_signal()
        return chat(f"{CANARY} it is")

    stub.reply = reply
    out = tmp_path / "run"
    request = unlearn_request(untrained, out, audit=True, suite=short_suite, paraphraser=stub.address)
    with pytest.raises(InterruptedRunError, match="asks for all wordings again"):
        unlearn(request)
    assert len(stub.asked) in (3, 4)  # the signal may come after the reply
    assert RunFolder.open(out).state == "interrupted"
    assert not find_canary(out, CANARY)
    before = stub.asked[:3]
    stub.asked.clear()
    stub.reply = lambda body: chat(f"{CANARY} it is")
    _, record = unlearn(request)
    assert record is not None
    assert stub.asked[:3] == before
    assert states(out)[-2:] == ["interrupted", "done"]


def test_a_finished_run_is_not_called_running_again(untrained, tmp_path):
    out = tmp_path / "run"
    unlearn(unlearn_request(untrained, out))
    heard: list[Event] = []
    unlearn(unlearn_request(untrained, out), (heard.append,))
    assert [event.data.get("state") for event in heard if event.kind == "state"] == ["done"]
    assert not [event for event in heard if event.kind in ("metric", "saved")]
