"""One small attack of each kind, for tests of what runs and reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from expunge.attacks.base import AttackTask, ModelAttack, Point, Probe, ProbeAttack, PromptAttack, Threat
from expunge.data.record import Record
from expunge.data.transforms import with_lead
from expunge.models.load import LoadedModel
from expunge.registry import attacks

THREAT = Threat(family="weights", access="weights", paper="none")


@dataclass(frozen=True, kw_only=True)
class Scaling(ModelAttack):
    """Scales the output layer's input away."""

    threat: ClassVar[Threat] = THREAT
    title: ClassVar[str] = "scaling"
    axis: ClassVar[str] = "factor"
    paper_budget: ClassVar[Mapping[str, float]] = {"factor": 7.0}

    factor: float = 0.0

    @property
    def folds(self) -> int:
        """Two, each of which has shown one half."""
        return 2

    def act(self, loaded: LoadedModel, task: AttackTask, fold: int) -> Iterator[Point]:
        """One point before, one after."""
        shown = frozenset(range(fold, len(task.forget), 2))
        yield Point(0.0, shown)
        with torch.no_grad():
            loaded.model.model.norm.weight.mul_(self.factor)
        yield Point(1.0, shown, {"factor": self.factor + fold})


@dataclass(frozen=True, kw_only=True)
class Wordings(PromptAttack):
    """As it is, and after a word; the first record cannot be asked so."""

    threat: ClassVar[Threat] = THREAT
    title: ClassVar[str] = "wordings"

    def rewrite(self, task: AttackTask) -> Mapping[str, Sequence[Record | None]]:
        """Two wordings."""
        led: list[Record | None] = [with_lead(record, "Well. ") for record in task.forget]
        return {"same": list(task.forget), "led": [None, *led[1:]]}


@dataclass(frozen=True, kw_only=True)
class Half(ProbeAttack):
    """One half for all."""

    threat: ClassVar[Threat] = THREAT
    title: ClassVar[str] = "half"
    unit: ClassVar[str] = "half"

    def probe(self, loaded: LoadedModel, task: AttackTask) -> Probe:
        """Two places."""
        halves = np.full(len(task.forget), 0.5)
        return Probe({"a": halves, "b": halves + 0.1}, best="b", details={"tried": 2.0}, at={"a": 1.0, "b": 2.0})


def register(monkeypatch) -> None:
    """Files them for the time of a test."""
    for name, attack in (("test_scaling", Scaling), ("test_wordings", Wordings), ("test_half", Half)):
        monkeypatch.setitem(attacks._objects, name, attack)
