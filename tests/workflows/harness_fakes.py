"""Stands for lm_eval where it is not installed: a task, and an answer at once."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from expunge.workflows import harness
from expunge.workflows.harness import Row
from expunge.workflows.harness_tasks import TaskChoice, Tasks


class Config(NamedTuple):
    """Settings of a task."""

    settings: dict[str, object]

    def to_dict(self, keep_callable: bool = False) -> dict[str, object]:
        assert keep_callable  # lm_eval would write addresses in place of partials
        return self.settings


class Task:
    """One task of lm_eval, as far as it is looked at."""

    task_name = "planets"

    def __init__(self, *docs: object, **settings: object) -> None:
        self.eval_docs = docs
        self.shots: object = ()
        self.settings = settings

    @property
    def config(self) -> Config:
        return Config({"task": "planets", "metadata": {"config_source": "elsewhere"}, **self.settings})

    def fewshot_docs(self) -> object:
        return self.shots

    def get_config(self, key: str) -> object:
        return self.settings.get(key)


def loaded(*docs: object, **settings: object) -> dict[str, object]:
    return {"tasks": {"planets": Task(*docs, **settings)}}


def row(**changes: object) -> Row:
    plain = {
        "task": "planets",
        "metric": "acc",
        "filter": "none",
        "value": 0.5,
        "stderr": 0.1,
        "n": 20,
        "shots": 0,
        "higher": True,
    }
    return Row(**{**plain, **changes})


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """Models that lm_eval was handed; it answers at once."""
    found: list[str] = []

    def answer(name, task, model):
        found.append(model.source)
        return [row(task=name, value=0.25 * len(found))]

    monkeypatch.setattr(harness, "evaluate_task", answer)
    monkeypatch.setattr("expunge.workflows.harness_tasks.require", lambda: "0.0.0")
    return found


@pytest.fixture
def tasks(monkeypatch) -> Tasks:
    """Stands for whatever was asked for."""
    found = Tasks(TaskChoice(names=("planets",)), {"planets": loaded({"q": "a"})}, None, "0.0.0")
    monkeypatch.setattr("expunge.workflows.audit.load_tasks", lambda choice, source, rendering: found)
    return found
