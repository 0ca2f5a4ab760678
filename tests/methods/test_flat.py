"""FLAT in the loop."""

from __future__ import annotations

import math

import pytest

from expunge.errors import InputError
from expunge.methods.base import ViewSpec
from expunge.methods.flat import FLAT
from expunge.methods.recipe import resolve
from expunge.methods.retain import NoRetain
from tests.methods.loops import assert_micro_batches_change_nothing, logps, mean, records, reports
from tests.support.params import few

DIVERGENCES = ["total_variation", "kl", "jensen_shannon", "pearson"]


def test_first_value_is_the_mean_over_records_of_the_loss_of_mean_probabilities():
    chosen = records(FLAT(), NoRetain())
    values = []
    for bad, good in zip(chosen["forget"], chosen["alternate"], strict=True):
        p_bad, p_good = (mean([math.exp(value) for value in logps(one)]) for one in (bad, good))
        values.append((math.tanh(p_bad) - math.tanh(p_good)) / 2)
    seen = reports(FLAT())
    assert seen[0].terms["forget"] == pytest.approx(mean(values), abs=1e-7)
    assert abs(mean(values)) > 1e-5


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_forget_term_falls(divergence):
    seen = reports(FLAT(divergence=divergence))
    assert seen[-1].terms["forget"] < seen[0].terms["forget"] - 0.01


@pytest.mark.parametrize("divergence", few(DIVERGENCES))
def test_micro_batches_change_nothing(divergence):
    assert_micro_batches_change_nothing(FLAT(divergence=divergence))


def test_it_reads_the_truth_and_a_refusal_and_nothing_else():
    recipe = resolve("flat")
    assert recipe.method.views() == (ViewSpec(name="forget"), ViewSpec(name="alternate", relabel=True))
    assert recipe.needs() == ("forget",)
    assert (recipe.axes.relabel.name, recipe.axes.retain_term.name) == ("idk", "none")
    assert recipe.method.spec.guarantee == "behavioural"


def test_an_unknown_divergence_is_refused():
    with pytest.raises(InputError, match="divergence"):
        resolve("flat", {"divergence": "hellinger"})
