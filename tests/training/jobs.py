"""Jobs on tiny models for the tests of the loop."""

from __future__ import annotations

import torch

from expunge.methods.npo import NPO
from expunge.methods.preset import Axes, Training
from expunge.methods.retain import RetainNLL
from expunge.training import distributed
from expunge.training.gradients import Gradients
from expunge.training.loop import Job, train
from expunge.training.references import build_references
from expunge.training.step import Step, view_specs
from tests.support.tiny import examples, llama

TRAINING = Training(learning_rate=1e-3, epochs=2, batch_size=8, micro_batch=8, warmup=0.0, checkpoint_every=2)
FORGET, RETAIN = examples(10, seed=1), examples(14, seed=2)
VIEWS = {"forget": FORGET, "retain": RETAIN, "alternate": examples(10, seed=3), "train": FORGET}


def job(method=None, retain=None, model=None, training=TRAINING, **more) -> Job:
    """A job on views by name."""
    method = method or NPO()
    retain = retain or RetainNLL()
    model = model or llama()
    axes = more.pop("axes", Axes())
    specs = view_specs(method, retain)
    views = {**VIEWS, **more.pop("views", {})}
    chosen = {spec.name: views[spec.name] for spec in specs}
    references = build_references(model, specs, chosen, kind=axes.reference, pad_id=0, batch_size=4)
    return Job(
        model=model,
        method=method,
        retain_term=retain,
        axes=axes,
        training=training,
        examples=chosen,
        references=references,
        **more,
    )


def flat(model) -> torch.Tensor:
    """All weights in one row."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def weights_after(**changes) -> torch.Tensor:
    """All weights after a job."""
    made = job(**changes)
    train(made)
    return flat(made.model)


def gradients_of(made: Job, perturbation=None) -> Gradients:
    """Takes gradients of a job's terms without training it."""
    step = Step(made.model, made.method, made.retain_term, made.references, perturbation)
    return Gradients(distributed.accelerator(made.model), step)
