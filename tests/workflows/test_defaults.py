"""The first command without settings: what it takes, where that comes from, and what a report says to try next."""

from __future__ import annotations

import json
import shutil

import pytest

from expunge.api import plan, unlearn
from expunge.cli import main
from expunge.evaluation.verdict.policy import Thresholds
from expunge.evaluation.verdict.rules import judge
from expunge.methods.recipe import resolve
from expunge.storage.run import RunFolder
from expunge.workflows.remedy import course_of, remedies
from expunge.workflows.repeat import _changes
from expunge.workflows.run_config import recipe_config
from tests.evaluation.verdicts import HARMLESS, ORIGINAL, evaluation
from tests.workflows.test_audit import unlearn_request

RATE = 1e-5 * 4096 / 16  # the hidden size of ``untrained``


def flags(world, out) -> list[str]:
    return [world.model, "--forget", str(world.forget), "--retain", str(world.retain), "--out", str(out)]


def test_a_plan_says_learning_rate_and_epochs_and_where_they_come_from(untrained, tmp_path, capsys):
    assert main(["plan", *flags(untrained, tmp_path / "run"), "--no-audit", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["steps"] == 70
    assert made["reasons"]["learning_rate"].startswith("0.00256: 1e-05 x 4096 / 16, since")
    assert made["reasons"]["epochs"].startswith("70: with 6 records, the published 10 would end before 70 steps")


def test_a_plan_of_a_method_without_a_loss_says_nothing_of_a_learning_rate(untrained, tmp_path):
    request = unlearn_request(untrained, tmp_path / "run", method="guardrail", settings={})
    assert plan(request).reasons == {}


@pytest.fixture(scope="module")
def idle(untrained, tmp_path_factory):
    """A run of one step, which moves nothing that any metric shows, with its audit."""
    out = tmp_path_factory.mktemp("idle") / "run"
    settings = {"learning_rate": 1e-5, "max_steps": 1}
    done = unlearn(unlearn_request(untrained, out, settings=settings, audit=True, suite="tofu", forms="none"))
    return done.run, done.record


def test_the_record_keeps_the_rule_and_the_same_command_goes_on(untrained, idle):
    run, record = idle
    stored = run.config["adapted"]
    assert stored == {key: value for key, value in record["adapted"].items() if key != "reasons"}
    assert stored["learning_rate"] == RATE
    assert stored["given"] == ["learning_rate"]
    assert run.config["training"]["learning_rate"] == 1e-5
    assert run.config["training"]["epochs"] == 70
    again = unlearn_request(untrained, run.root, settings={"learning_rate": 1e-5, "max_steps": 1})
    assert unlearn(again).run.root == run.root


def test_not_removed_says_what_to_try_on_the_terminal_and_in_the_report(untrained, idle, tmp_path, capsys):
    run, record = idle
    assert record["verdict"]["word"] == "not removed"
    [said] = record["advice"]
    assert said.startswith("Raise the learning rate from 1e-05 to 0.00256 (--set learning_rate=0.00256): ")
    page = run.report.read_text()
    assert f"What to try next.</b> {said.partition(';')[0]}"[:80] in page
    assert "as given; the default would be 0.00256" in page
    shutil.copytree(run.root, tmp_path / "run")
    records = ["--forget", str(untrained.forget), "--retain", str(untrained.retain), "--forms", "none"]
    assert main(["audit", str(tmp_path / "run"), *records, "--suite", "tofu"]) == 0
    assert f"What to try next: {said}" in " ".join(capsys.readouterr().err.split())


def test_the_report_is_headed_by_the_models_name(idle, untrained, tmp_path, capsys):
    run, record = idle
    assert record["model"]["judged"] == run.root.name
    assert f"<title>Expunge report: {run.root.name}: not removed</title>" in run.report.read_text()
    folder = tmp_path / "a <b> model"
    shutil.copytree(untrained.model, folder)
    flags = ["--forget", str(untrained.forget), "--original", untrained.model, "--suite", "quick", "--forms", "none"]
    assert main(["audit", str(folder), *flags, "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h1>Expunge report: a &lt;b&gt; model, compared with model</h1>" in page
    assert "<title>Expunge report: a &lt;b&gt; model: not removed</title>" in page
    assert untrained.forget.name not in page
    # Without a retrained model there is no mix of answers to compare with.
    why = "no number for original, unlearned and guardrail, because there is no retrained model to compare with."
    assert f"- answer mix: {why}" in capsys.readouterr().err
    assert f"N{why[1:]}" in page
    # A model made elsewhere has no settings to change; what to do is said all the same.
    assert "What to try next.</b> Unlearn again with a larger step" in page


def config(changes=None, *, name: str = "npo", records: int = 32) -> dict:
    return recipe_config(resolve(name, changes).adapted_to(64, {"forget": records, "retain": 96}))


@pytest.mark.parametrize(
    ("changes", "steps", "expected"),
    [
        ({"learning_rate": 1e-5}, 70, "from 1e-05 to 0.00064 (--set learning_rate=0.00064): the default for this"),
        ({}, 70, "from 0.00064 to 0.00192 (--set learning_rate=0.00192): try 3 times the last rate"),
        ({"learning_rate": 0.00064}, 70, "from 0.00064 to 0.00192"),
        ({"learning_rate": 0.01}, 70, "from 0.01 to 0.03"),
        ({"epochs": 2}, 2, "Train for longer (--set epochs=70): the run took 2 steps, and the default is at least 70"),
        ({"max_steps": 1}, 1, "(--set epochs=70 --set max_steps=70): the run took 1 step,"),
        ({"stopper": "utility_floor"}, 9, "(--set epochs=70 --stopper none): the run took 9 steps"),
        ({"optimizer": "sgd"}, 10, "from 1e-05 to 3e-05"),
    ],
)
def test_the_advice_by_hand(changes, steps, expected):
    [said] = remedies("not removed", json.loads(json.dumps(config(changes))), steps)
    assert expected in said


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"verb": "audit"}, "Unlearn again with a larger step: a higher learning rate or more epochs."),
        (recipe_config(resolve("guardrail")), "Choose a method that changes the weights (expunge list methods)"),
        (recipe_config(resolve("task_vector")), "Make the edit stronger (--set scale=..., --set reinforce_epochs=...,"),
        (recipe_config(resolve("retrain")), "Check that the retain records do not state the forget records' facts"),
    ],
)
def test_every_not_removed_has_a_next_step(settings, expected):
    [said] = remedies("not removed", settings, 0)
    assert said.startswith(expected)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"learning_rate": 0.01},
            "Lower the learning rate from 0.01 to 0.00064 (--set learning_rate=0.00064): the default for this model is",
        ),
        ({}, "Lower the learning rate, which was 0.00064, or raise the weight of the retain term, which was 1 "),
        ({"retain_term": "none"}, "Lower the learning rate, which was 0.00064, or add a retain term (--retain-term)."),
        (
            {"optimizer": "sgd", "retain_weight": 5},
            "which was 1e-05, or raise the weight of the retain term, which was 5",
        ),
    ],
)
@pytest.mark.parametrize("word", ["damaged", "partly removed"])
def test_a_damaged_model_is_trained_more_gently(word, changes, expected):
    [said] = remedies(word, json.loads(json.dumps(config(changes))), 70, course="gentler")
    assert expected in said


@pytest.mark.parametrize(
    ("changes", "steps", "expected"),
    [
        ({"epochs": 2}, 2, "Train for longer (--set epochs=70): the run took 2 steps"),
        ({"learning_rate": 1e-5}, 70, "Raise the learning rate from 1e-05 to 0.00064"),
        ({}, 70, "Train for more epochs than 70 (--set epochs=...), and watch utility."),
    ],
)
def test_what_is_removed_in_part_is_trained_for_longer(changes, steps, expected):
    [said] = remedies("partly removed", json.loads(json.dumps(config(changes))), steps)
    assert said.startswith(expected)


def test_other_verdicts_and_models_whose_recipe_is_not_known_get_no_advice():
    for word in ("removed", "not verifiable", "suppressed", "exposed", "not known"):
        assert remedies(word, config(), 70) == []
    for word in ("damaged", "partly removed"):
        assert remedies(word, {"verb": "audit"}, 0) == []
        assert remedies(word, config(), 70, course=None) == []


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (evaluation(**{**ORIGINAL, "es": 0.87}), "stronger"),
        (evaluation(es=0.5), "stronger"),
        (evaluation(es=0.0, es_paraphrased=0.0), "gentler"),  # past the retrained model
        (evaluation(es=0.5, es_paraphrased=0.0), None),  # one is held, the other is past it
        (evaluation(es=0.13, retain=0.75), "gentler"),  # utility alone
        (evaluation(retain=0.5), "gentler"),
        (evaluation(retrained=None, **ORIGINAL), "stronger"),
        (evaluation(), None),
    ],
)
def test_the_course_follows_from_what_decided(case, expected):
    assert course_of(judge(case, worst_recovery=HARMLESS), Thresholds()) == expected


@pytest.mark.parametrize(
    "changes", [{}, {"learning_rate": 1e-5}, {"epochs": 10}, {"learning_rate": 1e-5, "epochs": 10}]
)
def test_a_run_is_repeated_with_the_numbers_that_it_had(changes):
    """Shadow models are trained with the run's learning rate, also where the user gave the published one."""
    made = json.loads(json.dumps(config(changes)))
    again = resolve("npo", _changes(made)).adapted_to(64, {"forget": 32, "retain": 96})
    assert json.loads(json.dumps(recipe_config(again)))["training"] == made["training"]


def test_a_run_folder_is_bound_to_the_rule(untrained, tmp_path):
    """The rule's numbers are settings of the run like any others."""
    run = unlearn(unlearn_request(untrained, tmp_path / "run", settings={"max_steps": 1})).run
    assert RunFolder.open(run.root).config["training"]["learning_rate"] == RATE
    assert RunFolder.open(run.root).config["adapted"]["given"] == []
