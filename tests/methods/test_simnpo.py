"""SimNPO in the loop."""

from __future__ import annotations

import math

import pytest

from expunge.errors import InputError
from expunge.methods.recipe import resolve
from expunge.methods.retain import RetainNLL
from expunge.methods.simnpo import SimNPO
from tests.methods.loops import assert_micro_batches_change_nothing, logps, mean, records, reports, softplus


def test_first_value_is_the_mean_over_records_of_the_loss_of_their_means():
    method = SimNPO(beta=2.5, margin=0.5)
    forget = records(method, RetainNLL())["forget"]
    expected = mean([2 / 2.5 * softplus(2.5 * mean(logps(one)) + 0.5) for one in forget])
    seen = reports(method, RetainNLL())
    assert seen[0].terms["forget"] == pytest.approx(expected, rel=1e-5)


def test_the_forget_term_falls():
    seen = reports(SimNPO(beta=0.5))
    assert seen[-1].terms["forget"] < 0.8 * seen[0].terms["forget"]


def test_micro_batches_change_nothing():
    assert_micro_batches_change_nothing(SimNPO(beta=0.1), RetainNLL())


def test_it_needs_no_reference():
    assert not any(view.reference for view in SimNPO().views())


@pytest.mark.parametrize(("beta", "margin"), [(4.5, 0.0), (0.01, 0.0), (0.1, 10.0)])
def test_the_guard_lets_it_start_on_a_model_that_is_sure_of_the_answers(beta, margin):
    scale = SimNPO(beta=beta, margin=margin).scale
    assert 50 * scale > 2 / beta * softplus(margin)
    assert scale >= 2


def test_preset_has_the_numbers_of_forget10():
    recipe = resolve("simnpo")
    assert recipe.method == SimNPO(beta=4.5, margin=0.0)
    assert (recipe.axes.forget_weight, recipe.axes.retain_weight, recipe.axes.retain_term.name) == (0.125, 1.0, "nll")
    assert (recipe.training.epochs, recipe.training.batch_size, recipe.training.learning_rate) == (10, 32, 1e-5)


@pytest.mark.parametrize("settings", [{"beta": 0.0}, {"margin": math.nan}])
def test_settings_without_meaning_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        resolve("simnpo", settings)
