"""Runs a method's loss through the real loop on a tiny model."""

from __future__ import annotations

from typing import NamedTuple

import torch

from expunge.data.batch import collate
from expunge.methods.base import LossMethod
from expunge.methods.preset import Axes, Training
from expunge.methods.retain import NoRetain, RetainTerm
from expunge.models.reading import example_logps
from expunge.models.reference import FrozenReference, freeze
from expunge.training.loop import Job, train
from expunge.training.references import build_references
from expunge.training.step import Step, view_specs
from tests.support.tiny import examples, llama

FORGET, RETAIN = examples(8, seed=1), examples(8, seed=2)
TOLERANCE = 2e-6  # float32 sums in another order


class Outcome(NamedTuple):
    """All weights, the terms of each step, and the mean log-probability of the true forget tokens before and after."""

    weights: torch.Tensor
    terms: list[dict[str, float]]
    before: float
    after: float


def run(
    method: LossMethod,
    retain: RetainTerm | None = None,
    *,
    micro_batch: int = 8,
    reference: str = "frozen",
    epochs: float = 12,
    rate: float = 3e-3,
    model=None,
    views=None,
) -> Outcome:
    """Trains all weights of a two-layer model on eight records a step."""
    retain, model = retain or NoRetain(), model or llama()
    views = {"forget": FORGET, "retain": RETAIN, "general": RETAIN} | (views or {})
    specs = (*method.views(), *retain.views())
    chosen = {spec.name: views[spec.name] for spec in specs}
    references = build_references(model, specs, chosen, kind=reference, pad_id=0, batch_size=4)
    training = Training(learning_rate=rate, epochs=epochs, batch_size=8, micro_batch=micro_batch, warmup=0.0)
    reports = []
    before = _true_tokens(model)
    train(
        Job(
            model=model,
            method=method,
            retain_term=retain,
            axes=Axes(),
            training=training,
            examples=chosen,
            references=references,
            listener=reports.append,
        )
    )
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    return Outcome(weights, [report.terms for report in reports], before, _true_tokens(model))


def taught(steps: int = 30):
    """A model that knows the forget records: about 0.1 nats for each true token."""
    model, batch = llama(), collate(FORGET, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        model(batch.input_ids_BT, attention_mask=batch.attention_mask_BT, labels=batch.labels_BT).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def views_of(method: LossMethod, retain: RetainTerm | None = None, *, model=None, original=None, views=None):
    """Views of the first four records, as a step hands them to a method: read by ``model`` and by ``original``."""
    model = model or llama()
    views = {"forget": FORGET, "retain": RETAIN, "general": RETAIN} | (views or {})
    retain = retain or NoRetain()
    specs = view_specs(method, retain)
    step = Step(model, method, retain, {spec.name: FrozenReference(original or freeze(model)) for spec in specs})
    return {spec.name: step._view(spec, collate(views[spec.name][:4], 0)) for spec in specs}


def by_token(term, views) -> list[float]:
    """Values of a term at the scored tokens, in order."""
    scored_BT = views[term.view].batch.labels_scored_BT
    assert not term.values[~scored_BT].any()
    return term.values[scored_BT].tolist()


def _true_tokens(model) -> float:
    logps = torch.cat(example_logps(model, FORGET, pad_id=0))
    return float(logps[logps != 0].mean())


def assert_same(one: torch.Tensor, other: torch.Tensor) -> None:
    """Equal up to rounding; AdamW turns rounding of a tiny gradient into a visible step, hence the second bound."""
    assert (one - other).abs().mean() < TOLERANCE
    assert (one - other).abs().max() < 2e-4


def check_micro_batches(method: LossMethod, retain: RetainTerm | None = None, **more) -> None:
    """Micro-batches of 1 and 4 end in the same weights as the whole batch, and these moved."""
    whole = run(method, retain, epochs=2, rate=1e-3, **more).weights
    for size in (1, 4):
        assert_same(run(method, retain, epochs=2, rate=1e-3, micro_batch=size, **more).weights, whole)
    start = torch.cat([parameter.detach().flatten() for parameter in llama().parameters()])
    assert (whole - start).abs().mean() > 100 * TOLERANCE


def check_references(method: LossMethod, retain: RetainTerm | None = None) -> None:
    """Cached numbers and a frozen copy end in the same weights."""
    cached, frozen = (run(method, retain, epochs=2, rate=1e-3, reference=kind) for kind in ("cached", "frozen"))
    assert_same(cached.weights, frozen.weights)
