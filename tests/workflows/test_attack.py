"""Attacks on a run: what they leave in its folder, its record and its report, and what a second call does."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from expunge.api import AttackChoice, AttackRequest, AuditRequest, Request, attack, audit, unlearn
from expunge.cli import main
from expunge.errors import InputError, InterruptedRunError, UnknownNameError
from expunge.metrics.membership import MiaLoss
from expunge.metrics.memorisation import Probability
from expunge.registry import suites
from expunge.storage.run import RunFolder
from expunge.workflows import scene
from tests.support.attacks import Scaling, Wordings, register
from tests.support.canary import find_canary
from tests.workflows.conftest import CANARY

TRAINING = {"learning_rate": 1e-3, "epochs": 8, "batch_size": 6, "warmup": 0.0, "checkpoint_every": 0}
OWN = ("test_scaling", "test_wordings", "test_half")


@pytest.fixture(autouse=True)
def _registered(monkeypatch, short_suite):
    register(monkeypatch)


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("attacked") / "run"
    files = {"forget": world.forget, "retain": world.retain, "holdout": world.holdout}
    request = Request(model=world.model, **files, settings=TRAINING, max_length=64, audit=False, out=out)
    return unlearn(request).run.root


@pytest.fixture
def run(finished, tmp_path) -> RunFolder:
    shutil.copytree(finished, tmp_path / "run")
    return RunFolder.open(tmp_path / "run")


@pytest.fixture(scope="module")
def attacked_once(world, finished, tmp_path_factory) -> Path:
    """The run after all attacks of this file."""
    out = tmp_path_factory.mktemp("attacked_once") / "run"
    shutil.copytree(finished, out)
    with pytest.MonkeyPatch.context() as patch:
        register(patch)
        patch.setitem(suites._objects, "short", lambda splits: (Probability(), MiaLoss()))
        attacked(world, RunFolder.open(out))
    return out


@pytest.fixture
def attacked_run(attacked_once, tmp_path) -> RunFolder:
    """A copy of the attacked run, for one test alone."""
    shutil.copytree(attacked_once, tmp_path / "attacked")
    return RunFolder.open(tmp_path / "attacked")


def target(world, run: RunFolder, **changes) -> AuditRequest:
    files = {"forget": world.forget, "retain": world.retain, "holdout": world.holdout}
    given = {"target": run.root, "retrained": (world.base,), "suite": "short", "forms": "none"}
    return AuditRequest(**{**given, **files, **changes})


def attacked(world, run: RunFolder, *names: str, **changes) -> dict[str, Any]:
    record = attack(AttackRequest(audit=target(world, run), choice=AttackChoice(names=names or OWN, **changes))).record
    assert record is not None
    return record


def test_an_attack_ends_in_record_report_and_a_file_of_its_own(attacked_run):
    run, record = attacked_run, json.loads(attacked_run.record.read_text())
    assert [one["name"] for one in record["attacks"]] == sorted(OWN)
    scaling = next(one for one in record["attacks"] if one["name"] == "test_scaling")
    assert {row["point"] for row in scaling["rows"]} == {"0", "1"}
    row = next(row for row in scaling["rows"] if row["decides"])
    assert row["at"] == 1
    assert set(row["values"]) == {"unlearned", "retrained"}
    assert row["rho"]["n"] == 12
    assert row["rho"]["low"] <= row["rho"]["value"] <= row["rho"]["high"]
    assert row["rho"]["value"] == pytest.approx(
        (row["values"]["unlearned"]["value"] - row["values"]["retrained"]["value"])
        / (
            scaling["before"]["original"][row["measure"]]["value"]
            - scaling["before"]["retrained"][row["measure"]]["value"]
        )
    )
    half = next(one for one in record["attacks"] if one["name"] == "test_half")
    assert set(half["rows"][0]["values"]) == {"unlearned", "retrained", "original"}
    assert "only 0.00 above the retrained model" in half["rows"][0]["reason"]  # a probe that says the same of all
    assert record["verdict"]["recovery"]["attack"] in ("scaling", "wordings")
    assert not any("removal cannot be told from suppression" in limit for limit in record["limits"])
    assert len(list((run.root / "attacks").glob("test_scaling-*.json"))) == 1
    assert "Recovery by attack" in run.report.read_text()


def test_what_was_found_is_not_looked_for_again_and_stays_in_the_next_record(world, attacked_run, monkeypatch):
    run, first = attacked_run, json.loads(attacked_run.record.read_text())
    monkeypatch.setattr(scene, "run_attack", None)  # whoever calls it fails
    again = attacked(world, run)
    for what in ("rows", "seconds"):  # what it cost, not how long reading it back took
        assert [one[what] for one in again["attacks"]] == [one[what] for one in first["attacks"]]
    later = audit(target(world, run)).record
    assert later is not None
    assert [one["name"] for one in later["attacks"]] == sorted(OWN)
    with pytest.raises(TypeError):
        attacked(world, run, "test_scaling", settings={"factor": 0.5})


@pytest.mark.parametrize("change", ["weights", "policy", "records", "retrained", "version", "length"])
def test_attacks_on_other_models_or_records_are_not_told(world, attacked_run, change):
    run = attacked_run
    for other in (run.root / "attacks").glob("*.json"):
        if not other.name.startswith("test_half-"):
            other.unlink()
    (file,) = (run.root / "attacks").glob("*.json")
    stored = json.loads(file.read_text())
    if change == "records":
        stored["key"]["records"]["forget"] = "0" * 64
    elif change == "version":
        stored["version"] -= 1
        stored["of the old layout"] = 1
    elif change == "length":
        stored["key"]["max_length"] += 1
    elif change == "retrained":
        stored["key"]["models"]["retrained_2"] = stored["key"]["models"]["retrained"]
    else:
        stored["key"]["models"]["unlearned"][change] = "0" * 64
    file.write_text(json.dumps(stored))
    record = audit(target(world, run)).record
    assert record is not None
    assert record["attacks"] == []
    assert any("removal cannot be told from suppression" in limit for limit in record["limits"])


def test_other_wordings_stand_beside_the_first(world, run, monkeypatch):
    attacked(world, run, "test_wordings")
    monkeypatch.setattr(Wordings, "rewrite", lambda self, task: {"as it is": task.forget})  # the label is the same
    record = attacked(world, run, "test_wordings")
    points = [{row["point"] for row in one["rows"]} for one in record["attacks"]]
    assert sorted(len(one) for one in points) == [3, 4]


@pytest.mark.slow
def test_a_setting_that_is_the_budgets_own_is_no_change(world, run):
    attacked(world, run, "test_scaling", settings={"factor": 0.0})
    record = attacked(world, run, "test_scaling", budget="paper", settings={"factor": 7.0})
    assert [(one["budget"], one["changed"]) for one in record["attacks"]] in (
        [("quick", []), ("paper", [])],
        [("paper", []), ("quick", [])],
    )


@pytest.mark.slow
def test_another_setting_stands_beside_the_first_and_a_failure_beside_nothing(world, run, monkeypatch):
    attacked(world, run, "test_scaling")
    record = attacked(world, run, "test_scaling", settings={"factor": 0.9})
    assert sorted(one["changed"] for one in record["attacks"]) == [[], ["factor"]]
    assert len(record["attacks"]) == 2
    monkeypatch.setattr(Scaling, "threat", Scaling.threat._replace(splits=("poems",)))
    again = attacked(world, run, "test_scaling", "test_half")
    assert [(one["name"], bool(one["omitted"])) for one in again["attacks"]].count(("test_scaling", False)) == 2
    assert not any(one["omitted"] for one in again["attacks"])


@pytest.mark.slow
def test_a_filter_is_asked_and_all_models_are_read_by_what_they_say(world, tmp_path):
    files = {"forget": world.forget, "retain": world.retain, "holdout": world.holdout}
    made = unlearn(
        Request(model=world.model, method="guardrail", **files, max_length=64, audit=False, out=tmp_path / "run")
    )
    record = attacked(world, made.run, "test_wordings", "prompt_injection", "test_scaling")
    told = {one["name"]: one for one in record["attacks"]}
    asked, hidden, weights = (told[name] for name in ("test_wordings", "prompt_injection", "test_scaling"))
    assert (asked["role"], weights["role"]) == ("policy", "original")  # who has the weights goes around it
    assert {row["measure"].partition("(")[0] for row in asked["rows"]} == {"rouge"}
    assert {row["measure"].partition("(")[0] for row in hidden["rows"]} == {"rouge"}
    plain = next(row for row in asked["rows"] if row["point"] == "same")
    assert plain["values"]["policy"]["value"] < 0.2
    assert {row["point"] for row in hidden["rows"]} > {"spaced", "ignore"}
    assert all(set(row["values"]) == {"policy", "retrained"} for row in hidden["rows"])


def test_no_text_of_the_records_is_left(world, run, capfd):
    attacked(world, run, "test_wordings", "test_half")
    assert find_canary(run.root, CANARY) == []
    captured = capfd.readouterr()
    assert CANARY not in captured.out + captured.err


def test_of_all_attacks_those_that_cannot_be_run_say_why(world, run, monkeypatch):
    lacking = Scaling.threat._replace(splits=("poems",))
    monkeypatch.setattr(Scaling, "threat", lacking)
    monkeypatch.setattr("expunge.registry.attacks.names", lambda: ["test_half", "test_scaling"])
    record = attack(AttackRequest(audit=target(world, run))).record
    assert record is not None
    scaling = record["attacks"][1]
    assert "--split poems=FILE" in scaling["omitted"]
    assert scaling["rows"] == []
    with pytest.raises(InputError, match="poems"):
        attacked(world, run, "test_scaling")


def test_a_stop_between_two_attacks_keeps_the_first(world, run, monkeypatch):
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return bool(list((run.root / "attacks").glob("test_half-*.json")))

    monkeypatch.setattr("expunge.workflows.audit.stop_on_signal", lambda: _Handed(stop))
    with pytest.raises(InterruptedRunError, match="test_scaling"):
        attacked(world, run, "test_half", "test_scaling")
    assert asked


class _Handed:
    def __init__(self, value) -> None:
        self.value = value

    def __enter__(self):
        return self.value

    def __exit__(self, *_) -> None:
        return None


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        (AttackChoice(names=("no_such",)), "no attack named"),
        (AttackChoice(names=("test_half",), budget="huge"), "quick and paper"),  # type: ignore[arg-type]
        (AttackChoice(names=OWN, settings={"factor": 1}), "belong to one attack"),
    ],
)
def test_what_does_not_exist_is_refused_before_a_model_is_loaded(world, run, choice, says, monkeypatch):
    monkeypatch.setattr("expunge.models.load.load_model", None)
    with pytest.raises((InputError, UnknownNameError), match=says):
        attack(AttackRequest(audit=target(world, run), choice=choice))


def test_without_a_retrained_model_there_is_nothing_to_compare_with(world, finished, tmp_path):
    request = replace(
        target(world, RunFolder.open(finished)),
        target=finished / "model",
        original=world.model,
        retrained=(),
        out=tmp_path / "audit",
    )
    with pytest.raises(InputError, match="pass --retrained"):
        audit(replace(request, attacks=AttackChoice(names=OWN)))


def test_the_command_line_shows_a_table_and_refuses_with_2(world, run, capsys):
    files = ["--forget", str(world.forget), "--retain", str(world.retain), "--holdout", str(world.holdout)]
    assert main(["attack", str(run.root), "test_scaling", *files, "--retrained", world.base]) == 0
    said = capsys.readouterr().err
    assert "recovery" in said
    assert "Scaling" in said
    assert main(["attack", str(run.root), "test_sclaing", *files]) == 2
    assert "Did you mean" in capsys.readouterr().err
    assert main(["attack", str(world.root), "test_scaling", *files]) == 2
    assert "--attacks quick" in capsys.readouterr().err
