"""Flags and settings: what wins, what contradicts, and that plan takes what unlearn takes."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from expunge.api import Request
from expunge.cli import main
from expunge.cli.options import choice, columns, named_files, settings
from expunge.cli.unlearn import plan, unlearn
from expunge.config import Choice
from expunge.errors import InputError

NONE: dict[str, Any] = {"config": None, "overrides": None, "lora": None, "layers": None}
LORA = "parameters: {name: lora, settings: {rank: 8, alpha: 16}}\nbeta: 0.1\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(LORA)
    return path


def test_set_is_laid_over_the_file_at_any_depth(config: Path) -> None:
    merged = settings(**{**NONE, "config": config, "overrides": ["parameters.settings.rank=4", "epochs=2"]})
    assert merged == {"parameters": {"name": "lora", "settings": {"rank": 4, "alpha": 16}}, "beta": 0.1, "epochs": 2}


def test_a_plain_value_takes_the_place_of_settings_and_the_other_way_round(config: Path) -> None:
    assert settings(**{**NONE, "config": config, "overrides": ["parameters=all"]})["parameters"] == "all"
    merged = settings(**{**NONE, "config": config, "overrides": ["beta={a: 1}"]})
    assert merged["beta"] == {"a": 1}


def test_a_name_in_the_file_takes_settings_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("stopper: term_threshold\n")
    merged = settings(**{**NONE, "config": path, "overrides": ["stopper.settings.below=0.5"]})
    assert Choice.parse(merged["stopper"]) == Choice("term_threshold", {"below": 0.5})


def test_flags_of_the_axes_win() -> None:
    merged = settings(**NONE | {"overrides": ["retain_term=nll"]}, retain_term="kl", optimizer="adamw:beta2=0.95")
    assert merged == {"retain_term": Choice("kl", {}), "optimizer": Choice("adamw", {"beta2": 0.95})}
    assert settings(**NONE, relabel=None, stopper=None) == {}


@pytest.mark.parametrize("flag", [{"lora": 8}, {"layers": "5-7"}])
def test_two_choices_of_what_may_change_are_refused(config: Path, flag: dict[str, Any]) -> None:
    assert settings(**NONE | flag)["parameters"].name == next(iter(flag))
    for given in ({"config": config}, {"overrides": ["parameters=all"]}, {"overrides": ["parameters.name=lora"]}):
        with pytest.raises(InputError, match="and so does the setting parameters"):
            settings(**NONE | flag | given)
    with pytest.raises(InputError, match="--lora and --layers both"):
        settings(**NONE | {"lora": 8, "layers": "5-7"})


def test_a_split_named_twice_is_refused() -> None:
    assert named_files(["a=x.jsonl", "b=x.jsonl"]) == {"a": Path("x.jsonl"), "b": Path("x.jsonl")}
    with pytest.raises(InputError, match="'a' twice"):
        named_files(["a=x.jsonl", "b=y.jsonl", "a=z.jsonl"])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Requests that the command line makes, in the place of carrying them out."""
    import expunge.api

    found: list[Any] = []

    def note(request: Any, *listeners: Any) -> None:
        found.append(request)
        raise InputError("That was all.")

    for verb in ("plan", "unlearn"):
        monkeypatch.setattr(expunge.api, verb, note)
    return found


AXES = ["--optimizer", "adamw:beta2=0.9", "--relabel", "idk", "--stopper", "term_threshold:below=0.5"]


def test_plan_asks_for_what_unlearn_asks_for(asked: list[Any], config: Path) -> None:
    files = ["--forget", "f.jsonl", "--retain", "r.jsonl", "--split", "world_facts=w.jsonl", "--out", "run"]
    remote = ["--paraphraser", "https://models.invalid/v1#small", "--allow-remote", "--keep-helpers", "--no-audit"]
    models = ["--retrained", "one", "--retrained", "two", "--base", "base", "--benchmark", "fictional:seed=3"]
    given = ["model", *files, *AXES, *remote, *models, "--retain-term", "kl", "--config", str(config)]
    given += ["--set", "epochs=2", "--max-length", "64", "--allow-overlap", "--forms", "cloze", "--suite", "full"]
    for command in (["plan", *given], ["unlearn", *given]):
        assert main(command) == 2
    planned, unlearned = asked
    assert planned == unlearned
    assert planned == Request(
        model="model",
        out=Path("run"),
        forget=Path("f.jsonl"),
        benchmark=Choice("fictional", {"seed": 3}),
        retain="r.jsonl",
        base="base",
        retrained=("one", "two"),
        settings={
            "parameters": {"name": "lora", "settings": {"rank": 8, "alpha": 16}},
            "beta": 0.1,
            "epochs": 2,
            "retain_term": Choice("kl", {}),
            "optimizer": Choice("adamw", {"beta2": 0.9}),
            "relabel": Choice("idk", {}),
            "stopper": Choice("term_threshold", {"below": 0.5}),
        },
        evaluation={"world_facts": Path("w.jsonl")},
        suite="full",
        forms="cloze",
        paraphraser="https://models.invalid/v1#small",
        allow_remote=True,
        audit=False,
        max_length=64,
        allow_overlap=True,
        keep_helpers=True,
    )


def test_plan_has_every_flag_of_unlearn() -> None:
    planned, unlearned = (inspect.signature(command).parameters for command in (plan, unlearn))
    assert set(planned) == set(unlearned)
    assert {name for name in planned if planned[name].default != unlearned[name].default} == {"out"}


def test_settings_that_contradict_end_the_lines_of_a_job(asked: list[Any], capfd: pytest.CaptureFixture[str]) -> None:
    command = ["unlearn", "model", "--lora", "4", "--set", "parameters=all", "--out", "run", "--json"]
    assert main(command) == 2
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["launch", "done"]
    assert lines[-1]["exit_code"] == 2
    assert "so does the setting parameters" in lines[-1]["summary"]["error"]
    assert asked == []


def test_a_value_of_a_setting_may_be_a_list() -> None:
    assert choice("lume:tasks=Task1,Task2,documents=3") == Choice("lume", {"tasks": "Task1,Task2", "documents": 3})
    assert choice("lume") == Choice("lume", {})
    with pytest.raises(InputError, match="key=value"):
        choice("lume:Task1,documents=3")


def test_one_column_cannot_be_two_fields():
    with pytest.raises(InputError, match="each field needs its own column"):
        columns(["question=text,answer=text"])
