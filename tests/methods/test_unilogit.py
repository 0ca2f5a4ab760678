"""Unilogit: true tokens go to 1/V and stay there."""

from __future__ import annotations

import math

import pytest

from expunge.methods.recipe import resolve
from expunge.methods.unilogit import Unilogit
from tests.methods.running import by_token, check_micro_batches, run, taught, views_of
from tests.support.tiny import VOCABULARY


def test_the_term_is_the_divergence_of_two_coins():
    """Only the true token's probability p changes: KL of (p, 1 - p) to (1/V, 1 - 1/V)."""
    views = views_of(Unilogit(), model=taught(10))
    p_N = views["forget"].policy.token_logps[views["forget"].batch.labels_scored_BT].double().exp()
    expected_N = p_N * (p_N * VOCABULARY).log() + (1 - p_N) * ((1 - p_N) / (1 - 1 / VOCABULARY)).log()
    term = Unilogit().forget_term(views, {})
    assert by_token(term, views) == pytest.approx(expected_N.tolist(), abs=1e-5)
    assert max(expected_N.tolist()) > 0.1
    assert term.reduction == "token"


def test_the_true_tokens_go_to_one_in_v_and_no_further():
    outcome = run(Unilogit(), model=taught(), epochs=40, rate=1e-3)
    assert outcome.before > -0.2
    assert outcome.after == pytest.approx(-math.log(VOCABULARY), abs=1.5)
    assert outcome.terms[-1]["forget"] < 0.05 * outcome.terms[0]["forget"]


def test_micro_batches_change_nothing():
    check_micro_batches(Unilogit())


def test_preset():
    recipe = resolve("unilogit")
    assert recipe.axes.retain_term.name == "nll"
    assert recipe.needs() == ("forget", "retain")
