"""Tasks of lm_eval, without lm_eval: what is refused, what is stored, and how its numbers become scores."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

import pytest

from expunge.api import AuditRequest, audit
from expunge.cli import main
from expunge.errors import InputError, InterruptedRunError, MissingExtraError
from expunge.evaluation.result import Evaluation
from expunge.evaluation.subjects import Subject
from expunge.methods.guardrail import Guardrail, GuardrailPolicy
from expunge.reports.reading import Reading
from expunge.reports.record import read_record
from expunge.reports.sections.tables import groups
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder
from expunge.workflows.harness import Row, rows, run_tasks, to_score, with_tasks
from expunge.workflows.harness_tasks import TaskChoice, quietly
from tests.workflows.harness_fakes import loaded, row


def request(world, out: Path, **changes) -> AuditRequest:
    plain = {"target": Path(world.base), "original": world.model, "out": out, "forget": world.forget, "suite": "short"}
    return AuditRequest(**{**plain, "lm_eval": "planets", **changes})


@pytest.mark.parametrize("names", ["", "a,", "a,,b", "a,b,a"])
def test_names_that_are_none_are_refused(names):
    with pytest.raises(InputError, match="names of tasks with commas"):
        TaskChoice.parse(names, ())


def test_folders(tmp_path):
    assert TaskChoice.parse(" a, b", (tmp_path,)).names == ("a", "b")
    assert TaskChoice.parse(None, ()).names == ()
    with pytest.raises(InputError, match="there is no such folder"):
        TaskChoice.parse("a", (tmp_path / "missing",))
    with pytest.raises(InputError, match="which of them to run"):
        TaskChoice.parse(None, (tmp_path,))


def test_without_the_extra_nothing_is_begun(untrained, tmp_path, monkeypatch, short_suite, capfd):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtraError, match=r'pip install "expunge\[lm-eval\]"') as caught:
        audit(request(untrained, tmp_path / "out"))
    assert caught.value.exit_code == 2
    arguments = ["--original", untrained.model, "--out", str(tmp_path / "out"), "--forget", str(untrained.forget)]
    assert main(["audit", untrained.base, *arguments, "--lm-eval", "planets"]) == 2
    assert 'pip install "expunge[lm-eval]"' in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_model_is_asked_once(untrained, tmp_path, asked, tasks, short_suite):
    run, record = audit(request(untrained, tmp_path / "out", retrained=(untrained.base,)))
    found = [score for score in record["scores"] if score["label"].startswith("lm_eval")]
    assert {score["label"] for score in found} == {"lm_eval(task=planets, metric=acc, filter=none)"}
    # The retrained and the unlearned model are the same files here: one answer serves both.
    assert [(score["role"], score["value"]) for score in found] == [
        ("original", 0.25),
        ("retrained", 0.5),
        ("unlearned", 0.5),
    ]
    assert asked == [untrained.model, untrained.base]
    assert record["environment"]["lm_eval"] == "0.0.0"
    table = dict(groups(Reading(read_record(run.record))))["Tasks of lm_eval"]
    assert [value.value for value in table[0].values] == [0.25, 0.5, 0.5]
    _, again = audit(AuditRequest(target=run.root, forget=untrained.forget, suite="short", lm_eval="planets"))
    assert [score for score in again["scores"] if score["label"].startswith("lm_eval")] == found
    assert asked == [untrained.model, untrained.base]


def test_the_verdict_does_not_hear_of_it(untrained, tmp_path, asked, tasks, short_suite):
    _, with_it = audit(request(untrained, tmp_path / "with"))
    _, without = audit(request(untrained, tmp_path / "without", lm_eval=None))
    assert with_it["verdict"] == without["verdict"]
    assert [one for one in with_it["scores"] if not one["label"].startswith("lm_eval")] == without["scores"]
    assert "lm_eval" not in without["environment"]


def test_a_policy_is_left_out_with_the_reason(tmp_path, asked, tasks):
    run = RunFolder.create(tmp_path / "run", {"verb": "audit"})
    policy = GuardrailPolicy(Guardrail(), b"", frozenset(), frozenset())
    subject = Subject(role="policy", identity={"weights": "x"}, load=lambda: pytest.fail("loaded"), policy=policy)
    helper = Subject(role="reference", identity={"weights": "z"}, load=lambda: pytest.fail("loaded"), scored=False)
    found = run_tasks(tasks, run, [subject, helper])
    assert found.scores == ()
    assert [(one.label, one.role) for one in found.omitted] == [("lm_eval(task=planets)", "policy")]
    assert "bare weights" in found.omitted[0].reason
    whole = with_tasks(Evaluation(scores=(), omitted=()), found)
    assert whole.omitted == found.omitted


def test_a_signal_stops_between_two_models(untrained, tmp_path, asked, tasks, short_suite):
    def stop(event) -> None:
        if "unlearned model" in str(event.data.get("name")) and "lm_eval" in str(event.data.get("name")):
            os.kill(os.getpid(), signal.SIGTERM)

    two = tasks._replace(loaded={"planets": loaded({"q": 1}), "moons": loaded({"q": 2})})
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("expunge.workflows.audit.load_tasks", lambda choice, source, rendering: two)
        with pytest.raises(InterruptedRunError, match="before the unlearned model was asked"):
            audit(request(untrained, out), (stop,))
        before = len(asked)
        audit(request(untrained, out))
    assert len(asked) == 4
    assert before == 3
    assert RunFolder.open(out).state == "done"
    phases = [event.data["name"] for event in read_events(RunFolder.open(out).events_path) if event.kind == "phase"]
    assert "lm_eval's moons on the unlearned model" in phases


def test_an_interval_by_hand():
    score = to_score(row(value=0.5, stderr=0.1, n=20, shots=5), "unlearned")
    assert (score.low, score.high) == pytest.approx((0.5 - 0.1959964, 0.5 + 0.1959964))
    assert score.details == {"shots": 5.0, "stderr": 0.1}
    assert (score.n, score.records, score.direction, score.role) == (20, 20, "higher", "unlearned")
    few = to_score(row(n=9), "unlearned")
    assert (few.low, few.high) == (None, None)
    none = to_score(row(stderr=None, higher=False), "unlearned")
    assert (none.low, none.direction, none.details) == (None, "lower", {"shots": 0.0})
    assert to_score(row(higher=None), "unlearned").direction == "closer"


def test_numbers_are_taken_out_of_a_result():
    found = rows(
        {
            "results": {
                "a": {"alias": "a", "sample_len": 3, "acc,none": 0.5, "acc_stderr,none": 0.25, "text,none": "x"},
                "b": {"name": "b", "em,strict": 1, "em_stderr,strict": "N/A", "em,loose": 0.0, "ok,none": True},
                "both": {"acc,none": 0.75, "acc_stderr,none": 0.1},
                "silent": {"alias": "silent"},
            },
            "group_subtasks": {"both": ["a", "inner"], "inner": ["b"], "silent": []},
            "n-samples": {"a": {"original": 4, "effective": 3}, "b": {"original": 2, "effective": 2}},
            "n-shot": {"a": 5},
            "higher_is_better": {"a": {"acc": True}, "b": {"em": False}, "both": {"acc": None}},
        }
    )
    assert found == [
        Row("a", "acc", "none", 0.5, 0.25, 3, 5, True),
        Row("b", "em", "strict", 1.0, None, 2, 0, False),
        Row("b", "em", "loose", 0.0, None, 2, 0, False),
        Row("both", "acc", "none", 0.75, 0.1, 5, 0, None),
    ]


def test_what_it_prints_and_logs_is_dropped(capfd):
    logger = logging.getLogger("lm_eval")
    level = logger.level

    def talk() -> None:
        sys.stdout.write("a document")
        sys.stderr.write("a document")
        logger.error("a document")
        assert os.environ["DISABLE_MULTIPROC"] == "1"
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"), quietly():
        talk()
    assert (logger.level, os.environ.get("DISABLE_MULTIPROC")) == (level, None)
    assert capfd.readouterr() == ("", "")
