"""``--policy FILE``: what a verdict is held to, fixed before it is known, and exit code 3 where it is not met."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from expunge.api import AuditRequest, audit
from expunge.cli import main
from expunge.errors import InputError
from expunge.evaluation.verdict.policy import Thresholds, VerdictPolicy
from expunge.storage.run import RunFolder
from tests.workflows.conftest import World


def line(world: World, out: Path, *more: str) -> list[str]:
    files = ["--forget", str(world.forget), "--retain", str(world.retain), "--holdout", str(world.holdout)]
    return ["audit", world.base, "--original", world.model, *files, "--suite", "short", "--out", str(out), *more]


def policy(tmp_path: Path, text: str, name: str = "policy.yaml") -> list[str]:
    path = tmp_path / name
    path.write_text(text)
    return ["--policy", str(path)]


def record(out: Path) -> dict:
    return json.loads((out / "record.json").read_text())


def test_a_verdict_that_is_not_accepted_ends_with_three_and_everything_written(
    untrained, tmp_path, short_suite, capsys
):
    out = tmp_path / "audit"
    assert main(line(untrained, out, *policy(tmp_path, "accept: [removed]\nthresholds: {margin: 0.2}"))) == 3
    found = record(out)
    assert found["policy"] == {"accept": ["removed"], "met": False}
    assert found["thresholds"]["margin"] == 0.2
    assert found["thresholds"]["utility"] == Thresholds().utility
    assert (out / "report.html").is_file()
    assert RunFolder.open(out).state == "done"
    assert "The policy accepts removed: not met." in capsys.readouterr().err
    word = found["verdict"]["word"]
    assert (
        main(["audit", str(out), "--forget", str(untrained.forget), *policy(tmp_path, f"accept: [{word}, removed]")])
        == 0
    )
    assert record(out)["policy"] == {"accept": [word, "removed"], "met": True}


def test_without_words_no_verdict_changes_the_exit_code(untrained, tmp_path, short_suite):
    assert main(line(untrained, tmp_path / "plain")) == 0
    assert record(tmp_path / "plain")["policy"] == {"accept": [], "met": None}
    assert (
        main(line(untrained, tmp_path / "numbers", *policy(tmp_path, '{"thresholds": {"margin": 0.3}}', "p.json"))) == 0
    )
    assert record(tmp_path / "numbers")["thresholds"]["margin"] == 0.3


def test_json_tells_it_too(untrained, tmp_path, short_suite, capsys):
    assert main(line(untrained, tmp_path / "audit", *policy(tmp_path, "accept: [removed]"), "--json")) == 3
    done = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert (done["event"], done["exit_code"], done["summary"]["policy_met"]) == ("done", 3, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accept: [forgotten]", "not verifiable"),
        ("accept: removed", "accept"),
        ("accepts: [removed]", "accept"),
        ("thresholds: {margins: 0.1}", "margin"),
        ("thresholds: {margin: 5}", "margin=5"),
        ("thresholds: {utility: 0.5}", "damage"),
        ("thresholds: {perplexity: 0.5}", "perplexity"),
        ("- removed", "mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_before_anything_is_written(untrained, tmp_path, text, said, capsys):
    out = tmp_path / "audit"
    assert main(line(untrained, out, *policy(tmp_path, text))) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_missing_policy_is_refused(untrained, tmp_path):
    assert main(line(untrained, tmp_path / "audit", "--policy", str(tmp_path / "none.yaml"))) == 2


def test_a_run_keeps_to_the_policy_that_it_was_made_with(untrained, tmp_path, short_suite):
    """Fixed in the plan: a later audit reads it from the run, and the run does not go on under another one."""
    out = tmp_path / "run"
    files = ["--forget", str(untrained.forget), "--retain", str(untrained.retain), "--suite", "short"]
    unlearning = [
        "unlearn",
        untrained.model,
        *files,
        "--out",
        str(out),
        "--set",
        "max_steps=1",
        "--set",
        "batch_size=6",
    ]
    strict = policy(tmp_path, "accept: [removed]\nthresholds: {margin: 0.07}")
    assert main([*unlearning, *strict]) == 3
    assert record(out)["thresholds"]["margin"] == 0.07
    _, again = audit(AuditRequest(target=out, forget=untrained.forget, retain=untrained.retain, suite="short"))
    assert again["policy"] == {"accept": ["removed"], "met": False}
    assert again["thresholds"]["margin"] == 0.07
    assert main([*unlearning, *policy(tmp_path, "accept: [damaged]", "other.yaml")]) == 2
    own = VerdictPolicy(thresholds=Thresholds(margin=0.5))
    _, other = audit(
        AuditRequest(target=out, forget=untrained.forget, retain=untrained.retain, suite="short", policy=own)
    )
    assert other["thresholds"]["margin"] == 0.5
    assert other["policy"]["met"] is None


def test_a_policy_of_python_is_checked_too():
    with pytest.raises(InputError, match="forgotten"):
        VerdictPolicy(accept=("forgotten",))
    assert VerdictPolicy(accept=("removed",)).is_met("removed") is True
    assert VerdictPolicy(accept=("removed",)).is_met("damaged") is False
    assert VerdictPolicy().is_met("damaged") is None
