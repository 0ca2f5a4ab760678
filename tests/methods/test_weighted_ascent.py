"""WGA and SatImp in the loop."""

from __future__ import annotations

import math

import pytest
import torch

from expunge.errors import InputError
from expunge.methods.gradient_ascent import GradientAscent
from expunge.methods.recipe import resolve
from expunge.methods.retain import RetainNLL
from expunge.methods.weighted_ascent import WGA, SatImp
from expunge.training.loop import train
from tests.methods.loops import assert_micro_batches_change_nothing, job, logps, mean, records, reports


@pytest.mark.parametrize(("method", "beta2"), [(WGA(beta=0.3), 0.0), (SatImp(beta1=0.3, beta2=2.0), 2.0)])
def test_first_value_is_the_mean_over_tokens_and_not_over_weights(method, beta2):
    values = [value for one in records(method, RetainNLL())["forget"] for value in logps(one)]
    expected = mean([math.exp(0.3 * value) * (1 - math.exp(value)) ** beta2 * value for value in values])
    seen = reports(method, RetainNLL())
    assert seen[0].terms["forget"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", [WGA(beta=0.1), SatImp(beta1=0.1, beta2=1.0)])
def test_the_answers_sink(method):
    """The term itself is p^beta log p, which has a least value; what must fall is the log-probability."""
    made = job(method)
    before = _forget_logp(made)
    train(made)
    assert _forget_logp(made) < before - 0.5


def test_the_forget_term_falls():
    for method in (WGA(beta=0.1), SatImp(beta1=0.1, beta2=1.0)):
        seen = reports(method)
        assert seen[-1].terms["forget"] < seen[0].terms["forget"]


@pytest.mark.parametrize("method", [WGA(beta=0.1), SatImp(beta1=0.1)])
def test_micro_batches_change_nothing(method):
    assert_micro_batches_change_nothing(method, RetainNLL())


def test_wga_of_power_0_ends_where_gradient_ascent_does():
    found, expected = job(WGA(beta=0.0)), job(GradientAscent())
    train(found)
    train(expected)
    for own, other in zip(found.model.parameters(), expected.model.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-5)


def test_presets():
    assert resolve("wga").method == WGA(beta=1.0)
    recipe = resolve("satimp")
    assert recipe.method == SatImp(beta1=5.0, beta2=1.0)
    assert (recipe.axes.forget_weight, recipe.axes.retain_weight) == (1.0, 0.1)
    assert (recipe.training.batch_size, recipe.training.weight_decay) == (16, 0.0)


@pytest.mark.parametrize(("name", "setting"), [("wga", "beta"), ("satimp", "beta1"), ("satimp", "beta2")])
def test_powers_below_0_are_refused(name, setting):
    with pytest.raises(InputError, match="power of a probability"):
        resolve(name, {setting: -1.0})


def _forget_logp(made) -> float:
    values = []
    with torch.no_grad():
        for one in made.examples["forget"]:
            table_TV = made.model(torch.tensor([one.input_ids])).logits[0].log_softmax(-1)
            values += [float(table_TV[place - 1, label]) for place, label in enumerate(one.labels) if label >= 0]
    return mean(values)
