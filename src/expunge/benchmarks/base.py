"""What a benchmark is: records in named splits, and which of them the original model is trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from expunge.data.record import Record
from expunge.storage.secret import Secret

FORGET = "forget"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train the original and the retrained model of a benchmark; plain data for the workflow.

    AdamW with betas (0.9, 0.95), loss on answer tokens and the end-of-sequence token, gradients clipped to norm 1.

    Attributes:
        epochs: passes over the training records.
        learning_rate: peak, reached after the warm-up; then linear to 0.
        batch_size: records in one step.
        warmup_share: share of all steps in which the learning rate rises linearly from 0.
        weight_decay: AdamW's decoupled decay, on matrices only or on everything; too small to matter here.
        max_grad_norm: gradients are scaled down to this norm.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    warmup_share: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Benchmark(ABC):
    """Base of all benchmarks. Fields are settings; the same settings give the same records.

    Split names are shared by all benchmarks: ``forget``, ``retain``, ``holdout`` (never trained, same distribution),
    ``world_facts`` and ``real_authors`` (utility). Further splits may exist for training only.

    Class attributes:
        training_splits: splits that make up the original model's training set, in order; the retrained model's is the
            same without ``forget``. A benchmark may lack some of them in a small size.
        forget_splits: training splits that a request may ask to forget; a retrained model leaves out those it is the
            reference for.
        paper: source.
    """

    training_splits: ClassVar[tuple[str, ...]]
    forget_splits: ClassVar[tuple[str, ...]] = (FORGET,)
    paper: ClassVar[str] = ""

    @abstractmethod
    def splits(self) -> dict[str, list[Record]]:
        """Returns the records of every split."""

    def sources(self) -> dict[str, list[Record]]:
        """Returns records for methods that need others than to forget and to retain, by the name of the need."""
        return {}

    def training(self) -> list[Record]:
        """Returns the original model's training set; ``Record.split`` tells forget records from the others."""
        splits = self.splits()
        return [record for name in self.training_splits for record in splits.get(name, ())]

    def subjects(self) -> dict[str, list[Secret]]:
        """Returns the distinct subjects of every split, in order of appearance; empty where records have none."""
        return {
            name: list(dict.fromkeys(record.subject for record in records if record.subject is not None))
            for name, records in self.splits().items()
        }
