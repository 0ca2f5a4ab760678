"""Every verb that measures refuses splits that share records; where they are allowed, the report says how many."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from expunge.api import unlearn
from expunge.cli import main
from expunge.data.checks import overlaps
from expunge.data.reader import read_records
from expunge.storage.run import RunFolder
from tests.reports.records import empty
from tests.workflows.conftest import CANARY, World
from tests.workflows.test_audit import unlearn_request

TOO = "in the {} set too"


@pytest.fixture(scope="module")
def mixed(untrained, tmp_path_factory) -> Path:
    """A retain file that contains half of the forget set."""
    path = tmp_path_factory.mktemp("mixed") / "mixed.jsonl"
    half = untrained.forget.read_text().splitlines(keepends=True)[:3]
    path.write_text(untrained.retain.read_text() + "".join(half))
    return path


@pytest.fixture(scope="module")
def finished(untrained, tmp_path_factory) -> Path:
    return unlearn(unlearn_request(untrained, tmp_path_factory.mktemp("overlaps") / "run")).run.root


def commands(world: World, run: Path, out: Path) -> dict[str, list[str]]:
    own = ["--forget", str(world.forget), "--max-length", "64"]
    return {
        "unlearn": ["unlearn", world.model, "--out", str(out), *own],
        "plan": ["plan", world.model, *own],
        "audit": ["audit", world.base, "--original", world.model, "--out", str(out), *own],
        "attack": ["attack", str(run), "quantisation", *own[:2]],
        "compare": ["compare", str(run), str(run), "--at-utility", "0.9", *own[:2]],
        "bench": ["bench", world.model, "--methods", "grad_diff", "--out", str(out), *own],
    }


@pytest.mark.parametrize("verb", ["unlearn", "plan", "audit", "attack", "compare", "bench"])
@pytest.mark.parametrize("split", ["retain", "holdout"])
def test_an_overlap_is_refused(untrained, finished, mixed, tmp_path, capfd, verb, split):
    files = {"retain": mixed, "holdout": untrained.holdout}
    files = files if split == "retain" else {"retain": untrained.retain, "holdout": untrained.forget}
    if verb == "compare":
        run = RunFolder.open(finished)
        run.record.write_text(json.dumps(empty()))
    given = [part for name, path in files.items() for part in (f"--{name}", str(path))]
    command = [*commands(untrained, finished, tmp_path / "out")[verb], *given]
    assert main(command) == 2
    out, err = capfd.readouterr()
    assert TOO.format(split) in err
    assert "--allow-overlap" in err
    assert CANARY not in out + err
    assert not (tmp_path / "out").exists()


def test_a_holdout_set_that_was_trained_on_is_refused(untrained, tmp_path, capfd):
    given = ["--retain", str(untrained.retain), "--holdout", str(untrained.retain)]
    command = commands(untrained, tmp_path, tmp_path / "out")["audit"]
    assert main([*command, *given]) == 2
    assert "6 of 6 holdout records are in the retain set too" in capfd.readouterr().err


def test_an_allowed_overlap_is_counted(untrained, mixed, tmp_path, short_suite, capfd):
    given = ["--retain", str(mixed), "--holdout", str(untrained.forget), "--suite", short_suite, "--forms", "none"]
    command = commands(untrained, tmp_path, tmp_path / "out")["audit"]
    assert main([*command, *given, "--allow-overlap"]) == 0
    told = "3 of 6 forget records are in the retain set too"
    assert f"warning: {told}" in capfd.readouterr().err
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["data"]["forget"]["also_in"] == {"retain": 3, "holdout": 6}
    assert record["data"]["holdout"]["also_in"] == {"retain": 3}
    assert "also_in" not in record["data"]["retain"]
    assert any(told in limit for limit in record["limits"])
    assert told in (tmp_path / "out" / "report.html").read_text()


def test_parts_of_the_retain_set_may_repeat_it(untrained):
    forget, retain = (read_records(path, "any").records for path in (untrained.forget, untrained.retain))
    assert overlaps({"forget": forget, "retain": retain, "neighbours_near": retain, "train_retain": retain}) == []
    found = overlaps({"forget": forget, "neighbours_near": [*retain, forget[2]], "canaries_forget": forget})
    assert [(one.split, one.other, one.places) for one in found] == [("forget", "neighbours_near", (2,))]
