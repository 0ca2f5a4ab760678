"""The end of a job on a terminal: each sentence once, rows of a suite with those that are absent, and the policy."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from expunge.cli.verdict import score_lines, summary_of, verdict_lines
from tests.reports.records import LOSS, STRENGTH, audited, full, score


def test_each_sentence_stands_once_and_findings_have_their_name():
    assert verdict_lines(audited()) == [
        "",
        "Verdict: partly removed",
        "  probability, paraphrased answer is 0.50, versus 0.20 for the retrained model.",
        "  Npo: extraction strength is 0.12 in npo.",
        "With 12 subjects, 1 of 1 metric that decides may miss a difference of the margin, 0.05: the smallest that "
        "each shows reliably (5 % level, 80 % power) is 0.0607. About 18 subjects would be enough.",
        "The policy accepts removed, not known or npo: not met.",
    ]


def test_few_subjects_are_said_to_be_few():
    plain = full()
    plain["scores"] = [{**item, "n": 3} for item in plain["scores"]]
    assert "The forget set has 3 subjects, fewer than 10" in verdict_lines(plain)[-1]


def test_rows_come_first_and_say_why_they_are_absent():
    lines = score_lines(audited())
    assert lines[1].split() == ["original", "retrained", "unlearned", "guardrail"]
    assert lines[2] == "1. npo"
    assert lines[3].split() == ["extraction", "strength", "0.988", "0.11", "0.123", "-"]
    assert lines[5:8] == [
        "2. jailbreak prompts, absent: takes an attack of npo",
        "3. downstream tasks, absent: not measured",
        "Further metrics",
    ]
    assert sum(line.startswith("extraction strength ") for line in lines) == 1
    assert len(lines) == 2 + 3 + 2 + 1 + len({item["label"] for item in audited()["scores"]}) - 2


def test_without_rows_all_metrics_follow_each_other():
    lines = score_lines(full())
    assert len(lines) == 2 + len({item["label"] for item in full()["scores"]})
    assert lines[2].split()[:2] == ["extraction", "strength"]
    assert [line for line in lines if line.startswith("loss attack")][0].split()[-1] == "-"
    assert not any(name in " ".join(lines) for name in (STRENGTH, LOSS))


def test_a_number_that_is_missing_is_a_dash_with_a_note():
    plain = full()
    mixes = [(role, math.nan, "no forget prompt was answered") for role in ("original", "unlearned")]
    for role, value, why in [*mixes, ("retrained", None, "there is no original model to compare with")]:
        plain["scores"].append({**score("answer_mix(split=forget)", role, value), "missing": why})
    lines = score_lines(plain)
    assert [line.split()[-3:] for line in lines if line.startswith("answer mix")] == [["-", "-", "-"]]
    assert lines[-1] == (
        "- answer mix: no number for original and unlearned, because no forget prompt was answered; no number for "
        "retrained, because there is no original model to compare with."
    )
    assert not any("nan" in line.split() for line in lines)


@pytest.mark.parametrize(("met", "code"), [(True, 0), (False, 3), (None, None)])
def test_a_policy_that_is_not_met_changes_the_exit_code(met, code, capsys):
    run = SimpleNamespace(root=Path("run"), report=Path("run/report.html"))
    plain = {**audited(), "policy": {"accept": ["removed"] if met is not None else [], "met": met}}
    found = summary_of((run, plain))
    assert found.get("exit_code") == code
    assert found["verdict"] == "partly removed"
    assert "Verdict: partly removed" in capsys.readouterr().err
    assert summary_of((run, None)) == {"run": Path("run")}
