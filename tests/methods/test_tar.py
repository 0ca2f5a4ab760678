"""TAR's terms by hand, and that what holds the model is not taken along an attack."""

from __future__ import annotations

import pytest
import torch

from expunge.methods.recipe import resolve
from expunge.methods.retain import RetainNLL
from expunge.methods.tar import TAR
from expunge.methods.terms import holds
from expunge.training.combiners import WeightedSum
from expunge.training.direction import Direction
from expunge.training.perturbations.base import NoPerturbation
from expunge.training.perturbations.tamper import Tamper
from tests.methods.running import RETAIN, by_token, views_of
from tests.support.tiny import llama
from tests.training.jobs import gradients_of, job

ATTACK = Tamper(steps=8, every=4, learning_rates=(1e-2,))


def gradient(weight: float, perturbation) -> dict[str, torch.Tensor]:
    """Of the first step, the hidden states held with a weight, at the original's weights."""
    made = job(TAR(layers="0.0-1.0"), RetainNLL())
    gradients, streams = gradients_of(made, perturbation), made.streams()
    site = Direction(
        gradients=gradients,
        number=0,
        data=streams.step_data(0),
        others=lambda: [streams.step_data(1)],
        state={},
        weights={"forget": 1.0, "retain": 1.0, "retain_hidden": weight},
        seed=5,
    )
    site.find(WeightedSum(), perturbation)
    return gradients.take()


def test_the_forget_term_is_minus_the_entropy():
    views = views_of(TAR(), model=llama(seed=3))
    probabilities = views["forget"].policy.logits.detach().double().softmax(-1)
    expected = (probabilities * probabilities.log()).sum(-1)
    term = TAR().terms(views, {})["forget"]
    assert by_token(term, views) == pytest.approx(expected.tolist(), rel=1e-5)
    assert (term.reduction, term.view) == ("token", "forget")


def test_hidden_states_are_held_to_the_originals_on_answers_mean_over_layers():
    method = TAR(layers="0-1")
    views = views_of(method, model=llama(), original=llama(seed=1))
    term, expected = method.terms(views, {})["retain_hidden"], []
    for one in RETAIN[:4]:
        ids, scored = torch.tensor([one.input_ids]), torch.tensor(one.labels) >= 0
        with torch.no_grad():
            own, reference = (_blocks(model, ids) for model in (llama(), llama(seed=1)))
        gaps = [(a - b)[scored].norm(dim=-1).mean() for a, b in zip(own, reference, strict=True)]
        expected.append(float(sum(gaps) / len(gaps)))
    assert term.values.tolist() == pytest.approx(expected, rel=1e-4)
    assert (term.reduction, term.view) == ("token", "retain")


def _blocks(model, ids) -> list[torch.Tensor]:
    kept: list[torch.Tensor] = []
    for layer in model.model.layers:
        layer.register_forward_hook(
            lambda module, args, output: kept.append(output[0] if isinstance(output, tuple) else output)
        )
    model(ids)
    return [state.reshape(ids.shape[1], -1) for state in kept]


def test_what_holds_the_model_is_read_where_the_model_is_and_not_along_the_attack():
    """At the original the distance is 0 and has no gradient, so that its weight changes nothing."""
    free, held = (gradient(weight, ATTACK) for weight in (0.0, 100.0))
    for name, value in free.items():
        torch.testing.assert_close(held[name], value, rtol=0, atol=1e-6)
    plain = gradient(0.0, NoPerturbation())
    assert max(float((free[name] - plain[name]).abs().max()) for name in plain) > 1e-3  # the attack does something


def test_the_preset_and_the_sides_of_its_terms():
    recipe = resolve("tar")
    assert recipe.needs() == ("forget", "retain")
    assert dict(recipe.method.term_weights()) == {"retain_hidden": 1.0}
    assert [name for name in ("forget", "retain", "retain_hidden", "mismatch", "retained") if holds(name)] == [
        "retain",
        "retain_hidden",
    ]
    assert [stage.name for stage in recipe.before] == ["random_mapping"]
