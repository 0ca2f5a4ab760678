"""A real run of a method on a tiny model, and the same numbers from transformers' own logits.

The reference is another model than the one that starts, so that a loss that mixes them up shows.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from expunge.config import Choice
from expunge.data.batch import IGNORE, Example
from expunge.methods.base import LossMethod
from expunge.methods.preset import Axes, Training
from expunge.methods.retain import NoRetain, RetainTerm
from expunge.training.loop import Job, StepReport, train
from expunge.training.references import build_references
from expunge.training.step import view_specs
from tests.support.tiny import examples, llama

TRAINING = Training(learning_rate=5e-3, epochs=8, batch_size=10, micro_batch=10, warmup=0.0, schedule="constant")
RECORDS = {"forget": 10, "retain": 14}


def records(method: LossMethod, retain: RetainTerm, *, whole: bool = False) -> dict[str, list[Example]]:
    """Records of each view; those of a source share row numbers, and every view has its own answers."""
    found = {}
    for seed, spec in enumerate(view_specs(method, retain), start=1):
        found[spec.name] = examples(RECORDS[spec.source], seed=seed)
        if whole:  # prompts are scored too
            found[spec.name] = [replace(one, labels=one.input_ids) for one in found[spec.name]]
    return found


def job(
    method: LossMethod, retain: RetainTerm | None = None, *, training: Training = TRAINING, whole: bool = False, **more
) -> Job:
    """A job on fresh copies of everything."""
    retain = retain or NoRetain()
    chosen = records(method, retain, whole=whole)
    specs = view_specs(method, retain)
    references = build_references(llama(seed=5), specs, chosen, kind="auto", pad_id=0, batch_size=4)
    return Job(
        model=llama(),
        method=method,
        retain_term=retain,
        axes=more.pop("axes", Axes()),
        training=training,
        examples=chosen,
        references=references,
        **more,
    )


def reports(method: LossMethod, retain: RetainTerm | None = None, **more: Any) -> list[StepReport]:
    """Numbers of every step of a run; every step holds all forget records."""
    seen: list[StepReport] = []
    train(job(method, retain, listener=seen.append, **more))
    return seen


def assert_micro_batches_change_nothing(method: LossMethod, retain: RetainTerm | None = None) -> None:
    """Weights after a run in micro-batches of 1 and 4 are those of a run without, and others than at the start."""
    training = replace(TRAINING, epochs=1, batch_size=8)  # the second step holds 2 records
    axes = Axes(optimizer=Choice("sgd"))  # AdamW would turn the rounding of a tiny gradient into a step

    def weights(size: int) -> torch.Tensor:
        made = job(method, retain, training=replace(training, micro_batch=size, learning_rate=0.1), axes=axes)
        train(made)
        return torch.cat([parameter.detach().flatten() for parameter in made.model.parameters()])

    whole = weights(8)
    start = torch.cat([parameter.detach().flatten() for parameter in llama().parameters()])
    moved = (whole - start).abs().max()
    assert moved > 1e-3
    for size in (1, 4):
        assert (weights(size) - whole).abs().max() < 1e-3 * moved, size


def logps(example: Example, *, reference: bool = False) -> list[float]:
    """Log-probability of each scored token of one record, by itself, in float64."""
    with torch.no_grad():
        table_TV = _model(5 if reference else 0)(torch.tensor([example.input_ids])).logits[0].double().log_softmax(-1)
    return [
        float(table_TV[place - 1, label]) for place, label in enumerate(example.labels) if place > 0 and label != IGNORE
    ]


@cache
def _model(seed: int) -> torch.nn.Module:
    return llama(seed=seed)


def total(example: Example, *, reference: bool = False) -> float:
    """Log-probability of an answer, nats."""
    return math.fsum(logps(example, reference=reference))


def softplus(value: float) -> float:
    """log(1 + exp(value))."""
    return math.log1p(math.exp(value))


def mean(values: list[float]) -> float:
    """Arithmetic mean."""
    return math.fsum(values) / len(values)
