"""The main verb on a user's own folder: kinds of methods, no trace of the records, resume after SIGKILL, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge.api import Request, load, unlearn
from expunge.cli import main
from expunge.errors import DivergedError, InputError, MissingNeedError
from expunge.models.load import load_model, weights_digest
from expunge.storage.events import read_events
from tests.support.canary import find_canary
from tests.support.params import few
from tests.workflows.conftest import CANARY

SETTINGS = {"learning_rate": 1e-3, "epochs": 8, "batch_size": 6, "warmup": 0.0, "checkpoint_every": 3}


def request(world, out: Path, **changes) -> Request:
    given = {
        "model": world.model,
        "forget": world.forget,
        "retain": world.retain,
        "holdout": world.holdout,
        "settings": SETTINGS,
        "max_length": 64,
        "forms": "none",  # 1,000 decoys of each record are read in tests/workflows/test_forms.py
        "out": out,
    }
    return Request(**{**given, **changes})


def value(record, label: str, role: str) -> float:
    return next(
        score["value"] for score in record["scores"] if score["label"].startswith(label) and score["role"] == role
    )


@pytest.mark.parametrize(
    ("method", "settings"),
    few(
        [
            ("npo", SETTINGS),
            ("task_vector", {"reinforce_learning_rate": 2e-3, "reinforce_epochs": 10, "batch_size": 6, "scale": 2.0}),
            ("idk_dpo", SETTINGS),
            ("gradient_ascent", SETTINGS),
            ("grad_diff", {**SETTINGS, "epochs": 16}),
            ("kl_min", {**SETTINGS, "epochs": 12}),
        ],
        0,
        1,
    ),
)
def test_every_kind_forgets_and_loads_plainly(world, tmp_path, method, settings):
    run, record = unlearn(request(world, tmp_path / "run", method=method, settings=settings))
    before, after = (value(record, "probability(split=forget", role) for role in ("original", "unlearned"))
    assert before > 0.9
    assert after < before - 0.3
    model = AutoModelForCausalLM.from_pretrained(run.model)
    assert weights_digest(model) == record["result"]["digest"] != record["model"]["digest"]
    assert AutoTokenizer.from_pretrained(run.model).eos_token == "<eos>"
    assert not run.checkpoints.exists()
    assert not run.helpers.exists()
    assert run.state == "done"
    # No retrained model was handed in: damage and exposure can be seen without one, removal cannot.
    assert record["verdict"]["word"] in ("not verifiable", "damaged", "exposed")
    assert run.report.read_text().startswith("<!")


@pytest.mark.slow
def test_retrain_is_exact_and_judged_as_reference(world, tmp_path):
    settings = {"learning_rate": 5e-3, "epochs": 60, "batch_size": 12, "micro_batch": 12, "checkpoint_every": 0}
    out = tmp_path / "run"
    _, record = unlearn(request(world, out, method="retrain", base=world.base, settings=settings))
    assert value(record, "probability(split=forget", "unlearned") < 0.2
    assert value(record, "probability(split=retain", "unlearned") > 0.9
    assert record["method"]["guarantee"] == "exact"


def test_guardrail_leaves_the_weights_alone_and_refuses(world, tmp_path):
    run, record = unlearn(request(world, tmp_path / "run", method="guardrail", settings={}))
    assert record["result"] is None
    assert record["method"]["reversible"] is True
    assert "policy" in record["columns"]
    assert value(record, "rouge(split=forget", "policy") < 0.2 < value(record, "rouge(split=forget", "original")
    assert value(record, "rouge(split=retain", "policy") == value(record, "rouge(split=retain", "original")
    answering = load(run.root)
    asked = [f"Question: What is item 3 of {CANARY}?\nAnswer:", "Question: What is item 3 of Maro Keld?\nAnswer:"]
    answers = answering.generate(asked)
    assert answers[0] == "I don't know."
    assert "Maro Keld" in answers[1]


@pytest.mark.parametrize("method", few(["npo", "guardrail", "task_vector"]))
def test_no_trace_of_the_records_is_left(world, tmp_path, method, capfd):
    settings = SETTINGS if method == "npo" else {}
    changes = {"settings": settings, "forms": "cloze,reverse,prefix,casing,truncation", "keep_helpers": True}
    run, _ = unlearn(request(world, tmp_path / "run", method=method, **changes))
    assert find_canary(run.root, CANARY) == []
    assert find_canary(world.retain.parent, CANARY)  # the search itself finds the files that were handed in
    out = capfd.readouterr()
    assert CANARY not in out.out + out.err
    assert all((path.stat().st_mode & 0o077) == 0 for path in run.root.rglob("*"))


def arguments(world, out: Path, *more: str) -> list[str]:
    files = ["--forget", str(world.forget), "--retain", str(world.retain), "--max-length", "64"]
    settings = [part for key, item in SETTINGS.items() for part in ("--set", f"{key}={item}")]
    return ["unlearn", world.model, *files, "--forms", "none", "--out", str(out), *settings, *more]


def test_command_line_json_and_no_trace_on_stdout(world, tmp_path, short_suite, capfd):
    assert main(arguments(world, tmp_path / "run", "--suite", short_suite, "--json")) == 0
    out, err = capfd.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["launch", "done"]
    assert any(word in json.dumps(events[-1]) for word in ("not verifiable", "damaged", "exposed"))
    assert {event["event"] for event in events} <= {"launch", "phase", "metric", "warning", "done"}
    assert CANARY not in out + err


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (["--retain", "{forget}"], 2, "--allow-overlap"),
        (["--method", "npoo"], 2, "Did you mean 'npo'"),
        (["--method", "retrain"], 2, "--base"),
        (["--set", "beta=-1"], 2, "beta"),
        (["--max-length", "3"], 2, "--max-length"),
        (["--set", "runaway=1e-9"], 3, "diverged"),
    ],
)
def test_exit_codes_and_messages_without_records(world, tmp_path, capfd, change, code, says):
    change = [part.format(forget=world.forget) for part in change]
    assert main(arguments(world, tmp_path / "run", *change)) == code
    out, err = capfd.readouterr()
    assert says in err
    assert "Traceback" not in err
    assert CANARY not in out + err
    if (tmp_path / "run").exists():
        assert find_canary(tmp_path / "run", CANARY) == []


def test_needs_are_checked_before_the_model_is_touched(tmp_path, world):
    with pytest.raises(MissingNeedError, match="--retain"):
        unlearn(request(world, tmp_path / "run", retain=None, model="/nowhere"))
    assert not (tmp_path / "run").exists()


def test_diverged_run_keeps_a_finite_model_and_says_so(world, tmp_path):
    settings = {**SETTINGS, "learning_rate": 1.0, "epochs": 30, "runaway": 20.0}
    with pytest.raises(DivergedError):
        unlearn(request(world, tmp_path / "run", method="gradient_ascent", settings=settings))
    model = load_model(tmp_path / "run" / "model").model
    assert all(torch.isfinite(weight).all() for weight in model.parameters())
    states = [event.data["state"] for event in read_events(tmp_path / "run" / "events.jsonl") if event.kind == "state"]
    assert states[-1] == "diverged"
    assert not (tmp_path / "run" / "record.json").exists()


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_bits(world, tmp_path):
    whole, _ = unlearn(request(world, tmp_path / "whole", audit=False))
    out = tmp_path / "killed"
    for kill_at in (2, 9):
        process = subprocess.Popen(
            [sys.executable, "-m", "expunge", *arguments(world, out, "--holdout", str(world.holdout), "--no-audit")],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        steps = 0
        deadline = time.monotonic() + 120
        while steps < kill_at and process.poll() is None and time.monotonic() < deadline:
            steps = sum(event.kind == "metric" for event in read_events(out / "events.jsonl"))
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    resumed, _ = unlearn(request(world, out, audit=False))
    assert weights_digest(load_model(resumed.model).model) == weights_digest(load_model(whole.model).model)


def test_same_folder_with_other_records_or_settings_is_refused(world, tmp_path):
    unlearn(request(world, tmp_path / "run", audit=False))
    with pytest.raises(InputError, match="other settings"):
        unlearn(request(world, tmp_path / "run", settings={**SETTINGS, "beta": 0.2}, audit=False))
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps({"question": f"q{n}", "answer": "a"}) + "\n" for n in range(12)))
    with pytest.raises(InputError, match="other records"):
        unlearn(request(world, tmp_path / "run", forget=other, audit=False))


def test_finished_run_is_not_done_again(world, tmp_path, short_suite):
    first, _ = unlearn(request(world, tmp_path / "run", audit=False))
    before = (first.model / "model.safetensors").stat().st_mtime_ns
    _, record = unlearn(request(world, tmp_path / "run", suite=short_suite))
    assert (first.model / "model.safetensors").stat().st_mtime_ns == before
    assert record is not None
