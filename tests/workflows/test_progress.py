"""Every phase of every verb says how many steps it has, ends at that number, and goes on where it was."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from expunge.api import AuditRequest, PrepareRequest, audit, bench, prepare, unlearn
from expunge.cli import lines, main
from expunge.evaluation import journal
from expunge.metrics.extraction import ExtractionLikelihood
from expunge.metrics.membership import MiaLoss
from expunge.metrics.memorisation import Probability, Rouge
from expunge.registry import suites
from expunge.workflows import bench as bench_module
from tests.support.attacks import register
from tests.support.jobs import run_here
from tests.support.phases import Seen, check, of_events, of_json
from tests.workflows.conftest import rows
from tests.workflows.test_audit import QUICK, unlearn_request
from tests.workflows.test_bench import short

METRICS = (Probability(), MiaLoss(), ExtractionLikelihood(stride=4), Rouge(max_new_tokens=4))


@pytest.fixture(autouse=True)
def _every_step(monkeypatch):
    """Steps are shown whenever they are told; a suite that reads, sweeps and lets the models speak."""
    monkeypatch.setattr(lines, "JSON_INTERVAL", 0.0)
    monkeypatch.setattr(lines, "INTERVAL", 0.0)
    monkeypatch.setattr(lines, "SHARE", 0.0)
    monkeypatch.setitem(suites._objects, "short", lambda splits: METRICS)


def named(found: list[Seen], start: str) -> Seen:
    return next(phase for phase in found if phase.name.startswith(start))


def files(world) -> list[str]:
    return ["--forget", str(world.forget), "--retain", str(world.retain), "--max-length", "64"]


@pytest.mark.parametrize("method", ["npo", "task_vector", "guardrail"])
def test_unlearn(untrained, tmp_path, capfd, method):
    settings = ["--set", "max_steps=3"] if method == "npo" else []
    command = ["unlearn", untrained.model, *files(untrained), "--method", method, *settings, "--forms", "none"]
    assert main([*command, "--suite", "short", "--out", str(tmp_path / "run"), "--json"]) == 0
    found = of_json(capfd.readouterr().out)
    check(found)
    assert named(found, f"unlearn with {method}").total == (3 if method == "npo" else 1)
    if method == "npo":
        assert named(found, "read the original model").total == 6
        assert named(found, "replies of the original model").total == 6
        assert named(found, "extraction likelihood of the unlearned model").total > 6  # starts, not records


def test_stages_and_an_early_end(untrained, tmp_path, short_suite):
    """Each stage is a phase; one that a stopper ends has the steps that it took."""
    heard = []
    stages = {"before": {"random_mapping": {"max_steps": 2}}, "max_steps": 3, "batch_size": 4}
    request = unlearn_request(untrained, tmp_path / "run", method="tar", settings=stages)
    unlearn(request, (heard.append,))
    found = of_events(heard)
    check(found)
    assert [named(found, name).total for name in ("unlearn with tar", "first random_mapping", "then tar")] == [1, 2, 3]


def test_audit_attack_and_plain_lines(untrained, tmp_path, capfd, monkeypatch):
    register(monkeypatch)
    out = tmp_path / "audit"
    holdout = ["--holdout", str(untrained.holdout), "--forms", "none", "--suite", "short"]
    command = ["audit", untrained.base, *files(untrained), *holdout, "--original", untrained.model]
    command += ["--retrained", untrained.base, "--out", str(out)]
    assert main([*command, "--json"]) == 0
    found = of_json(capfd.readouterr().out)
    check(found)
    assert named(found, "compute scores and intervals").total > len(METRICS)
    attack = ["attack", str(out), "test_scaling,test_wordings,test_half", *files(untrained)[:4], *holdout[:2]]
    assert main([*attack, "--retrained", untrained.base, "--json"]) == 0
    found = of_json(capfd.readouterr().out)
    check(found)
    assert [phase.name for phase in found if phase.name.startswith("attack")] == [
        f"attack with {name} ({place} of 3)"
        for place, name in enumerate(("test_scaling", "test_wordings", "test_half"), start=1)
    ]
    shutil.rmtree(out)
    assert main(command) == 0
    shown = capfd.readouterr().err.splitlines()
    assert not any("?" in line for line in shown)
    begun = [found for line in shown if (found := re.fullmatch(r"(.+) \(([\d,]+) steps\)", line))]
    assert len(begun) >= 6
    for phase in begun:
        last = [line for line in shown if line.startswith(f"{phase[1]} ") and "/" in line][-1]
        assert last == f"{phase[1]} {phase[2]}/{phase[2]}"


def test_a_killed_audit_counts_what_was_read(untrained, tmp_path, monkeypatch):
    """Killed as soon as the batch of the forget set was written: the phase goes on at 6 of 12."""
    monkeypatch.setattr(journal, "EVERY", 0.0)
    monkeypatch.setitem(suites._objects, "short", lambda splits: (Probability(), Probability(split="retain")))
    request = AuditRequest(
        target=untrained.base,
        original=untrained.model,
        forget=untrained.forget,
        retain=untrained.retain,
        out=tmp_path / "audit",
        suite="short",
        forms="none",
    )
    heard = []

    def kill(event) -> None:
        heard.append(event)
        if event.kind == "progress" and of_events(heard)[-1].name.startswith("read") and event.data["step"] == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(request, (kill,))
    before = of_events(heard)[-1]
    heard.clear()
    audit(request, (heard.append,))
    found = of_events(heard)
    check(found)
    after = named(found, before.name.partition(" (")[0])
    assert (before.total, before.steps[-1]) == (12, after.done) == (12, 6)


def test_bench(untrained, tmp_path, monkeypatch, short_suite):
    """Methods times seeds; a second call counts the runs that are there."""
    monkeypatch.setattr(bench_module, "run_jobs", run_here)
    heard = []
    methods = ("npo", "grad_diff")
    settings = dict.fromkeys(methods, QUICK)
    bench(short(untrained, tmp_path / "bench", methods=methods, settings=settings), (heard.append,))
    found = of_events(heard)
    check(found)
    assert named(found, "unlearn and audit").total == 2
    parts = [event.data["part"] for event in heard if event.kind == "progress"]
    assert any(re.fullmatch(r"npo-seed-0: read the original model.* \d+/\d+", part) for part in parts)
    shutil.rmtree(tmp_path / "bench" / "runs" / "npo-seed-0")
    heard.clear()
    bench(short(untrained, tmp_path / "bench", methods=methods, settings=settings), (heard.append,))
    (again,) = [phase for phase in of_events(heard) if phase.name.startswith("unlearn and audit")]
    assert (again.done, again.total) == (1, 2)


def test_prepare(tmp_path, capfd):
    data, forget = tmp_path / "data.jsonl", tmp_path / "forget.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in [*rows("retain", 9), *rows("forget", 3)]))
    forget.write_text("".join(json.dumps(row) + "\n" for row in rows("forget", 3)))
    heard = []
    prepare(PrepareRequest(data=(data,), out=tmp_path / "out", forget=forget), (heard.append,))
    found = of_events(heard)
    check(found)
    totals = {phase.name: phase.total for phase in found}
    assert {"read": 15, "clean": 12, "find near duplicates": 12}.items() <= totals.items()
    assert main(["prepare", str(data), "--forget", str(forget), "--out", str(tmp_path / "other")]) == 0
    assert "find near duplicates 12/12" in capfd.readouterr().err.splitlines()
