"""Retraining without the forget set: the reference that every other method is compared with.

The same start, the same order of records and the same steps as the original, with the forget records left out of
their batches:
whatever differs between the two models comes from those records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from expunge.config import field_names
from expunge.data.batch import Example
from expunge.methods.base import ExactMethod, Spec
from expunge.methods.finetune import Finetune
from expunge.methods.preset import Axes, Training
from expunge.methods.retain import NoRetain
from expunge.registry import methods
from expunge.training.loop import Job, StepReport, TrainResult, train


@dataclass(frozen=True, kw_only=True)
class FitTask:
    """A training run from a base model.

    Attributes:
        model: the base model, changed in place.
        keep: tokenised records to learn.
        leave_out: tokenised records that keep their place in the order and are never shown; empty trains the original.
        axes: parameters, optimizer, stopper.
        training: numbers of the loop; the original's, if the two are to be compared.
        pad_id: token that fills up.
        checkpoints: folder for checkpoints, or None.
        listener: told of every step.
        warn: called with each warning.
        micro_batch_changed: called with a step and the micro-batch that memory leaves from there on.
        stop_requested: asked after every step.
    """

    model: Any
    keep: Sequence[Example]
    leave_out: Sequence[Example] = ()
    axes: Axes
    training: Training
    pad_id: int
    checkpoints: Path | None = None
    listener: Callable[[StepReport], None] = lambda report: None
    warn: Callable[[str], None] = lambda text: None
    micro_batch_changed: Callable[[int, int], None] = lambda step, size: None
    stop_requested: Callable[[], bool] = lambda: False


@methods.register("retrain")
@dataclass(frozen=True, kw_only=True)
class Retrain(ExactMethod):
    """Trains the base model on everything but the forget set. Exact for this stage, whatever the base had seen.

    Records are ordered as retain, then forget: the twin of an original that was trained here on the same two files.
    """

    spec: ClassVar[Spec] = Spec(
        guarantee="exact",
        artefact="new model",
        needs=("forget", "retain", "base"),
        paper="Bourtoule et al., 2019, https://arxiv.org/abs/1912.03817, as the baseline",
    )

    takes = frozenset({"optimizer", "stopper", *field_names(Training)})

    def fit(self, task: FitTask) -> TrainResult:
        """Trains ``task.model`` in place."""
        rows = [*task.keep, *(replace(example, weight=0.0) for example in task.leave_out)]
        examples = [replace(example, row=row) for row, example in enumerate(rows)]
        return train(
            Job(
                model=task.model,
                method=Finetune(),
                retain_term=NoRetain(),
                axes=task.axes,
                training=task.training,
                examples={"train": examples},
                pad_id=task.pad_id,
                checkpoints=task.checkpoints,
                listener=task.listener,
                warn=task.warn,
                micro_batch_changed=task.micro_batch_changed,
                stop_requested=task.stop_requested,
            )
        )
