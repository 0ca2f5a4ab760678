"""A run goes on with the models that it was made with, and with no others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from expunge.api import unlearn
from expunge.cli import main
from expunge.storage.events import read_events
from tests.workflows.conftest import World
from tests.workflows.test_audit import QUICK, unlearn_request
from tests.workflows.test_resume import at_phase, press_control_c, states


@pytest.fixture
def own(untrained, tmp_path) -> World:
    shutil.copytree(untrained.root, tmp_path / "world")
    return World(tmp_path / "world")


@pytest.fixture
def stopped(own, tmp_path) -> Path:
    """A run that was stopped before its first step."""
    with pytest.raises(KeyboardInterrupt):
        unlearn(unlearn_request(own, tmp_path / "run", base=own.base), at_phase("unlearn with", press_control_c))
    return tmp_path / "run"


def command(own: World, out: Path) -> list[str]:
    files = ["--forget", str(own.forget), "--retain", str(own.retain), "--holdout", str(own.holdout)]
    numbers = [part for name, value in QUICK.items() for part in ("--set", f"{name}={value}")]
    given = [own.model, "--out", str(out), "--base", own.base, *files, *numbers]
    return ["unlearn", *given, "--max-length", "64", "--no-audit"]


def test_a_lora_rank_above_the_smallest_matrix_ends_with_exit_code_2(own, tmp_path, capfd):
    for verb in ("plan", "unlearn"):
        given = [verb, *(part for part in command(own, tmp_path / "run")[1:] if part != "--no-audit" or verb != "plan")]
        assert main([*given, "--lora", "100000"]) == 2
        assert "LoRA of rank 100000 is above" in capfd.readouterr().err


def swap(own: World) -> None:
    one, other = Path(own.model), Path(own.base)
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)


def test_other_weights_in_the_folder_of_the_model_are_refused(own, stopped, capfd):
    swap(own)
    assert main(command(own, stopped)) == 4
    told = capfd.readouterr().err
    assert f"The model to unlearn {own.model} is not the one" in told
    assert "choose another --out" in told
    assert states(stopped)[-1] == "interrupted"
    assert not (stopped / "model").exists()
    swap(own)
    assert main(command(own, stopped)) == 0
    swap(own)
    assert main(command(own, stopped)) == 4  # a finished run too


def test_another_base_is_refused(own, stopped, capfd):
    path = Path(own.base) / "config.json"
    path.write_text(path.read_text() + " ")
    assert main(command(own, stopped)) == 4
    assert f"The --base model {own.base} is not the one" in capfd.readouterr().err


def test_a_run_of_an_older_version_is_bound_when_it_goes_on(own, stopped):
    log = stopped / "events.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    rows = [row for row in rows if row["kind"] != "models"]
    log.write_text("".join(json.dumps({**row, "seq": seq}) + "\n" for seq, row in enumerate(rows, start=1)))
    assert main(command(own, stopped)) == 0
    assert [event.kind for event in read_events(log)].count("models") == 1
