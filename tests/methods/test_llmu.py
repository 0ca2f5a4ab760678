"""LLMU by hand: transformers' own cross-entropy, record by record, and the same for all micro-batches."""

from __future__ import annotations

from dataclasses import replace
from statistics import mean

import pytest
import torch

from expunge.errors import InputError, MissingNeedError
from expunge.methods.llmu import LLMU
from expunge.methods.preset import Training
from expunge.methods.recipe import resolve
from expunge.training.loop import Job, StepReport, train
from expunge.training.references import build_references
from expunge.training.step import Step, view_specs
from tests.support.tiny import examples, llama

TOLERANCE = 1e-5  # float32
TRAINING = Training(learning_rate=1e-3, epochs=1, batch_size=6, micro_batch=6, warmup=0.0, checkpoint_every=0)
VIEWS = {"forget": examples(6, seed=1), "retain": examples(9, seed=2)} | {
    f"random_{k}": examples(6, seed=10 + k) for k in range(5)
}


def job(model, **more) -> Job:
    recipe = resolve("llmu", more.pop("changes", {}))
    specs = view_specs(recipe.method, recipe.retain_term)
    chosen = {spec.name: VIEWS[spec.name] for spec in specs}
    references = build_references(model, specs, chosen, kind="auto", pad_id=0, batch_size=4)
    return Job(
        model=model,
        method=recipe.method,
        retain_term=recipe.retain_term,
        axes=recipe.axes,
        training=more.pop("training", TRAINING),
        examples=chosen,
        references=references,
        **more,
    )


def loss_of(model, example) -> torch.Tensor:
    """Mean over the answer's tokens, shifted by transformers itself."""
    return model(torch.tensor([example.input_ids]), labels=torch.tensor([example.labels])).loss


def terms_of(model, views, rows) -> dict[str, float]:
    with torch.no_grad():
        forget = [float(loss_of(model, views["forget"][row])) for row in rows]
        other = [float(loss_of(model, views[f"random_{k}"][row])) for k in range(5) for row in rows]
    return {"forget": -mean(forget), "mismatch": mean(other)}


def test_terms_are_those_of_transformers_own_loss():
    model, seen = llama(seed=0), []
    expected = terms_of(llama(seed=0), VIEWS, range(6))
    train(job(model, listener=seen.append))
    report: StepReport = seen[0]
    assert set(report.terms) == {"forget", "mismatch", "retain"}
    assert report.terms["forget"] == pytest.approx(expected["forget"], rel=TOLERANCE)
    assert report.terms["mismatch"] == pytest.approx(expected["mismatch"], rel=TOLERANCE)
    assert report.terms["retain"] == pytest.approx(0.0, abs=TOLERANCE)  # the model is still the original
    assert expected["forget"] < 0 < expected["mismatch"]


def test_the_loss_weighs_a_half_one_and_one():
    """Of the first step: 0.5 * ascent + 1 * mismatch + 1 * KL, and its gradient."""
    model, by_hand = llama(seed=0), llama(seed=0)
    made = job(model)
    step = Step(model, made.method, made.retain_term, made.references)
    data = made.streams().step_data(0)
    weights = {"forget": made.axes.forget_weight, "retain": made.axes.retain_weight, **made.method.term_weights()}
    found = step({name: batch for name, batch in data.micro_batches[0].items()}, {}, data.totals, weights)
    found.loss.backward()
    expected = sum(-0.5 / 6 * loss_of(by_hand, VIEWS["forget"][row]) for row in range(6))
    for k in range(5):
        expected = expected + sum(loss_of(by_hand, VIEWS[f"random_{k}"][row]) for row in range(6)) / 30
    expected.backward()
    assert float(found.loss.detach()) == pytest.approx(float(expected.detach()), rel=TOLERANCE)
    for (name, one), (_, other) in zip(model.named_parameters(), by_hand.named_parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6), name


def test_micro_batches_change_nothing():
    def after(size: int) -> torch.Tensor:
        model = llama(seed=0)
        train(job(model, training=replace(TRAINING, micro_batch=size)))
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    whole = after(6)
    start = torch.cat([parameter.detach().flatten() for parameter in llama(seed=0).parameters()])
    assert (whole - start).abs().mean() > 1e-4
    for size in (1, 4):
        assert (after(size) - whole).abs().mean() < 2e-6


def test_the_forget_loss_rises_and_that_of_the_random_answers_falls():
    model, seen = llama(seed=0), []
    train(job(model, training=replace(TRAINING, epochs=10), listener=seen.append))
    assert seen[-1].terms["forget"] < seen[0].terms["forget"]
    assert seen[-1].terms["mismatch"] < seen[0].terms["mismatch"]


def test_a_weight_of_zero_learns_no_random_answer():
    """The same weights as with other random answers: none of them counts."""

    def after(weight: float, first: int) -> torch.Tensor:
        model = llama(seed=0)
        made = job(model, changes={"mismatch_weight": weight, "answers": 1})
        train(replace(made, examples={**made.examples, "random_0": VIEWS[f"random_{first}"]}))
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    assert torch.equal(after(0.0, 0), after(0.0, 1))
    assert not torch.equal(after(1.0, 0), after(1.0, 1))


def test_five_answers_from_the_retain_set():
    recipe = resolve("llmu")
    assert [(spec.name, spec.relabel, spec.sample) for spec in recipe.method.views()] == [
        ("forget", False, 0),
        *((f"random_{k}", True, k) for k in range(5)),
    ]
    assert (recipe.axes.forget_weight, recipe.axes.retain_term.name) == (0.5, "kl")
    assert recipe.needs() == ("forget", "retain")
    with pytest.raises(MissingNeedError, match="--retain"):
        resolve("llmu", {"retain_term": "none"}).check(frozenset({"forget"}))  # the random answers are of it


def test_the_weight_of_the_random_answers_is_a_setting():
    assert dict(LLMU(mismatch_weight=3.0).term_weights()) == {"mismatch": 3.0}


@pytest.mark.parametrize("settings", [{"answers": 0}, {"mismatch_weight": -1.0}, {"mismatch_weight": float("nan")}])
def test_numbers_that_cannot_be_meant_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        LLMU(**settings)
