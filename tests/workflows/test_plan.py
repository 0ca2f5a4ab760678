"""Plans without a run: what is refused, and arithmetic where a model is too large to be tried out."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from expunge.api import Request, plan
from expunge.cli import main
from expunge.cli.unlearn import _effort
from expunge.errors import DivergedError, InputError, InterruptedRunError, MissingNeedError, ResourceError
from expunge.methods.recipe import resolve
from expunge.models.folder import check_folder, saved_shapes
from expunge.models.headers import check_headers
from expunge.workflows import arithmetic, effort
from expunge.workflows import plan as module
from expunge.workflows.arithmetic import LIBRARIES_BYTES, tokens_of_step
from expunge.workflows.effort import NOTHING, Effort, measured
from expunge.workflows.forms import form_counts
from tests.support.params import few
from tests.workflows.test_remote import Stub, stub

__all__ = ["stub"]  # the fixture


def request(world, tmp_path, **changes) -> Request:
    given = {"model": world.model, "forget": world.forget, "retain": world.retain, "max_length": 64}
    return Request(**{**given, "out": tmp_path / "unused", **changes})


@pytest.mark.parametrize("method", few(["npo", "kl_min", "task_vector", "guardrail"], 0, 3))
def test_small_models_are_tried_out(world, tmp_path, method):
    made = plan(request(world, tmp_path, method=method))
    assert made.basis == "measured"
    assert (made.train > 0) == (method != "guardrail")
    assert made.audit > 0
    assert made.audit_seconds == pytest.approx((made.audit / made.threads, made.audit), rel=0.01)
    assert not (tmp_path / "unused").exists()


def test_retraining_counts_all_records(world, tmp_path):
    made = plan(request(world, tmp_path, method="retrain", base=world.base, settings={"epochs": 3, "batch_size": 8}))
    assert made.steps == 9  # 24 records


def test_large_models_are_estimated(world, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MEASURED_BYTES", 0)
    monkeypatch.setattr(arithmetic, "_one_operation", lambda: Effort(1e-9, 1e-9))
    settings = {"epochs": 2, "batch_size": 6}
    once = plan(request(world, tmp_path, settings=settings))
    thrice = plan(request(world, tmp_path, settings={**settings, "epochs": 6}))
    weights = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_pretrained(world.model).parameters())
    assert once.basis == thrice.basis == "estimated"
    assert once.parameters == weights
    assert (once.steps, thrice.steps) == (4, 12)
    assert once.memory_bytes - LIBRARIES_BYTES == 4 * weights * 4  # weights, gradients, two moments: float32
    lora = plan(
        request(world, tmp_path, settings={**settings, "parameters": {"name": "lora", "settings": {"rank": 2}}})
    )
    assert 4 * weights < lora.memory_bytes - LIBRARIES_BYTES < 1.5 * 4 * weights
    assert thrice.train == pytest.approx(3 * once.train)  # three times the steps


@pytest.mark.parametrize(
    ("method", "changes", "expected"),
    [
        ("gradient_ascent", {}, 4 * 10),  # four records of 10 tokens
        ("npo", {}, 4 * (10 + 20)),
        ("idk_dpo", {}, 4 * (10 + 10 + 20)),
        ("altpo", {"answers": 3}, 4 * (10 + 3 * 10 + 20)),
        ("npo", {"perturb": "sam"}, 4 * (2 * 10 + 20)),
        ("npo", {"perturb": {"name": "tamper", "settings": {"steps": 8, "every": 4}}}, 4 * (11 * 10 + 20)),
        ("npo", {"batch_size": 100}, 6 * (10 + 20)),
    ],
)
def test_tokens_of_a_step_by_hand(method, changes, expected):
    """Six forget records of 10 tokens, eight retain records of 20."""
    recipe = resolve(method, {"batch_size": 4, **changes})
    splits = {"forget": [None] * 6, "retain": [None] * 8}
    assert tokens_of_step(recipe, splits, {"forget": 60, "retain": 160}) == expected


def test_a_plan_says_which_lines_were_left_out(world, tmp_path, capsys):
    forget = tmp_path / "forget.jsonl"
    forget.write_text(world.forget.read_text().rstrip("\n") + '\n{"question": "q", "answer": ""}\n')
    line = ["plan", world.model, "--forget", str(forget), "--method", "guardrail", "--no-audit"]
    line += ["--retain", str(world.retain), "--max-length", "64"]
    assert main(line) == 2
    assert "answer is empty" in "".join(capsys.readouterr())
    assert main([*line, "--allow-rejected"]) == 0
    number = len(world.forget.read_text().splitlines()) + 1
    assert f"forget 1 (line {number}: answer is empty)" in capsys.readouterr().out


def test_what_unlearn_refuses_is_refused(world, tmp_path):
    with pytest.raises(MissingNeedError, match="--retain"):
        plan(request(world, tmp_path, retain=None))
    with pytest.raises(InputError, match="local model folder"):
        plan(request(world, tmp_path, model="nobody/nothing"))


def test_a_plan_asks_no_paraphraser(world, tmp_path, monkeypatch, stub: Stub):
    """Neither an address, nor the Hub; and it counts the wordings that the audit will read."""
    read: list[dict[str, int]] = []

    def note(loaded, splits, needs, **_):
        read.append(form_counts(splits["forget"]) if "forget" in splits else {})

    def refuse(*_, **__):
        raise AssertionError("a plan contacts nobody")

    monkeypatch.setattr(module, "answer_needs", note)
    monkeypatch.setattr("expunge.models.load.snapshot_download", refuse)
    monkeypatch.setattr("expunge.workflows.remote.Endpoint.chat", refuse)
    for paraphraser in (f"{stub.address}#small", "https://models.invalid/v1", "nobody/nothing"):
        plan(request(world, tmp_path, forms="none", paraphraser=paraphraser, allow_remote=True))
        assert read[1] == {"trained": 12, "paraphrased_question": 12, "paraphrased_answer": 12}  # the first warms up
        read.clear()
    assert stub.asked == []
    plan(request(world, tmp_path, forms="none"))
    assert read[1] == {"trained": 12}
    with pytest.raises(InputError, match="--allow-remote"):
        plan(request(world, tmp_path, paraphraser="https://models.invalid/v1"))
    with pytest.raises(InputError):
        plan(request(world, tmp_path, paraphraser=str(tmp_path / "nothing")))


def test_a_plan_without_an_audit_counts_none(world, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_time_audit", lambda *_: pytest.fail("nothing is audited"))
    made = plan(request(world, tmp_path, audit=False))
    assert (made.audit, made.audit_seconds) == (0.0, (0.0, 0.0))


def test_each_stage_is_timed_by_itself(world, tmp_path, monkeypatch):
    """Two steps of the mapping at 3 s and one of the second stage at 100 s; both stages leave checkpoints."""
    took = {"random_mapping": Effort(3.0, 3.0), "tar": Effort(100.0, 100.0)}
    monkeypatch.setattr(module, "_time_steps", lambda part, *_: NOTHING if part.before else took[part.name])
    settings = {"max_steps": 1, "batch_size": 4, "before": {"random_mapping": {"max_steps": 2}}}
    made = plan(request(world, tmp_path, method="tar", settings=settings, audit=False))
    assert made.train == 106.0
    once = plan(request(world, tmp_path, method="random_mapping", settings={"max_steps": 1}, audit=False))
    assert made.disk_bytes - once.disk_bytes == 2 * 3 * 4 * made.parameters


def with_clocks(monkeypatch, *, wall: float) -> None:
    """Every look at the clocks finds 0.1 processor seconds gone, and ``wall`` seconds."""
    looks = itertools.count()

    def now() -> Effort:
        return Effort(0.1, wall).times(next(looks))

    for place in (effort, module):
        monkeypatch.setattr(place, "now", now)


def test_other_work_on_the_machine_changes_no_estimate(world, tmp_path, monkeypatch, short_suite):
    """Clocks in place of the machine's: beside other work a hundred times the seconds go by, and the same are used."""
    settings = {"epochs": 2, "batch_size": 6}
    made = []
    for wall in (0.1, 10.0):
        with monkeypatch.context() as patch:
            with_clocks(patch, wall=wall)
            made.append(plan(request(world, tmp_path, settings=settings, suite=short_suite, forms="none")))
    alone, beside = made
    assert alone.train == beside.train == pytest.approx(4 * 0.1)  # four steps
    assert (alone.train_seconds, alone.audit, alone.audit_seconds) == (
        beside.train_seconds,
        beside.audit,
        beside.audit_seconds,
    )


def test_a_short_call_is_repeated_and_its_median_counts():
    calls = []
    found = measured(lambda: calls.append(sum(range(1000))))
    assert len(calls) == effort.MOST
    assert 0 <= found.processor < 0.1


@pytest.mark.parametrize(
    ("found", "threads", "seconds"),
    [
        (Effort(8.0, 8.0), 1, (8.0, 8.0)),
        (Effort(8.0, 8.0), 4, (2.0, 8.0)),  # one thread measured; four may share it or not
        (Effort(8.0, 3.0), 4, (2.0, 3.0)),  # four measured on an idle machine
        (Effort(8.0, 500.0), 4, (2.0, 8.0)),  # four measured beside other work
        (Effort(8.0, 1.0), 4, (2.0, 2.0)),  # clocks that disagree
    ],
)
def test_seconds_on_an_idle_machine(found, threads, seconds):
    assert found.alone(threads) == seconds


def test_both_kinds_of_seconds_are_said():
    assert _effort(0.0, (0.0, 0.0), 1) == "none"
    assert _effort(12.4, (12.4, 12.4), 1) == (
        "about 12 processor seconds (12 s if the machine is otherwise idle, with one thread)"
    )
    assert _effort(80.0, (40.0, 80.0), 2) == (
        "about 80 processor seconds (40 s to 80 s if the machine is otherwise idle, with 2 threads)"
    )


@pytest.mark.slow
def test_a_plan_beside_spinning_processes_is_no_factor_off(world):
    """Also with as many threads as cores; before, a plan beside three busy processes said ten times as much."""
    command = [sys.executable, "-m", "expunge", "plan", world.model, "--forget", str(world.forget)]
    command += ["--retain", str(world.retain), "--max-length", "64", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count())}

    def seconds() -> float:
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=600)
        found = json.loads(done.stdout)
        return found["train"] + found["audit"]

    alone = seconds()
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        beside = seconds()
    finally:
        for process in spinning:
            process.kill()
            process.wait()
    assert 0.5 < beside / alone < 2.0, (alone, beside)


def damaged(world, place: Path, change: str) -> str:
    """A copy of a model whose file of weights lacks a tensor, has one more, or has one of another shape."""
    shutil.copytree(world.model, place)
    weights = load_file(place / "model.safetensors")
    name = "model.norm.weight"
    if change == "missing":
        del weights[name]
    else:
        weights["model.extra" if change == "unexpected" else name] = torch.zeros(3)
    save_file(weights, place / "model.safetensors", {"format": "pt"})
    return str(place)


@pytest.mark.parametrize("change", ["missing", "unexpected", "mismatched"])
def test_weights_that_do_not_fit_are_refused_by_their_headers(untrained, tmp_path, monkeypatch, capfd, change):
    """Without a weight read: by plan for every model that it was given, and by unlearn before it trains."""
    monkeypatch.setattr("safetensors.torch.load_file", lambda *_: pytest.fail("weights are read"))
    broken = damaged(untrained, tmp_path / "broken", change)
    says = f"The weights of 'broken' do not fit its config.json: 1 {change} keys"
    own = ["--forget", str(untrained.forget), "--retain", str(untrained.retain), "--out", str(tmp_path / "out")]
    assert main(["plan", broken, *own]) == 2
    assert says in capfd.readouterr().err
    for verb in ("plan", "unlearn"):
        assert main([verb, untrained.model, "--retrained", broken, *own]) == 2
        assert says in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_headers_that_fit_pass(untrained, monkeypatch):
    """Tied weights are saved once, and that is no missing tensor."""
    folder = check_folder(untrained.model)
    assert "lm_head.weight" not in saved_shapes(folder.weights)
    check_headers(folder)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--stopper", "term_threshold:term=nothing,below=1"], "There is no term 'nothing' to stop on"),
        (
            ["--relabel", "random_answer", "--method", "idk_dpo", "--retain", "TEXT"],
            "no answer that record 0 could get",
        ),
    ],
)
def test_a_refusal_of_the_trial_reaches_the_user(untrained, tmp_path, capfd, flags, says):
    """What only the first steps find; without it plan promised a time for what unlearn refuses."""
    text = tmp_path / "text.jsonl"
    text.write_text('{"text": "One two three four five six."}\n' * 3)
    flags = [str(text) if flag == "TEXT" else flag for flag in flags]
    line = [untrained.model, "--forget", str(untrained.forget), "--retain", str(untrained.retain), *flags]
    line += ["--max-length", "64", "--no-audit", "--set", "max_steps=2", "--out", str(tmp_path / "out")]
    for verb in ("plan", "unlearn"):
        assert main([verb, *line]) == 2
        assert says in " ".join(capfd.readouterr().err.split())


def test_what_an_untrained_model_answers_refuses_nothing(untrained, tmp_path, capfd):
    """The stopper needs a model that gets a token right; the trial's has learnt none, and the real one is not read."""
    line = [untrained.model, "--forget", str(untrained.forget), "--retain", str(untrained.retain)]
    line += ["--stopper", "utility_floor", "--max-length", "64", "--no-audit", "--set", "max_steps=2"]
    assert main(["plan", *line]) == 0
    assert main(["unlearn", *line, "--out", str(tmp_path / "out")]) == 2
    assert "gets no token of the retain set right" in capfd.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(DivergedError, 0), (InterruptedRunError, 0), (ResourceError, 5)])
def test_only_what_a_trial_is_expected_to_meet_is_silent(untrained, tmp_path, monkeypatch, capfd, error, code):
    def fail(work):
        raise error("It happened.")

    monkeypatch.setattr(module, "produce", fail)
    line = ["plan", untrained.model, "--forget", str(untrained.forget), "--retain", str(untrained.retain)]
    assert main([*line, "--max-length", "64", "--no-audit"]) == code
    assert ("It happened." in capfd.readouterr().err) == bool(code)
