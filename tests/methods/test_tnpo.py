"""Token-wise NPO and its weighted form in the loop."""

from __future__ import annotations

import math

import pytest

from expunge.errors import InputError
from expunge.methods.recipe import resolve
from expunge.methods.retain import RetainNLL
from expunge.methods.tnpo import TNPO
from tests.methods.loops import assert_micro_batches_change_nothing, logps, mean, records, reports, softplus
from tests.support.params import few


@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_first_value_is_the_token_mean(alpha):
    """The starting model is not the reference here, so that each token has a value of its own."""
    method = TNPO(beta=0.5, alpha=alpha)
    pairs = [
        pair
        for one in records(method, RetainNLL())["forget"]
        for pair in zip(logps(one), logps(one, reference=True), strict=True)
    ]
    expected = mean([math.exp(alpha * own) * 4 * softplus(0.5 * (own - original)) for own, original in pairs])
    seen = reports(method, RetainNLL())
    assert seen[0].terms["forget"] == pytest.approx(expected, rel=1e-5)


def test_the_forget_term_falls():
    for method in (TNPO(beta=4.0), TNPO(beta=4.0, alpha=0.5)):
        seen = reports(method)
        assert seen[-1].terms["forget"] < 0.9 * seen[0].terms["forget"]


@pytest.mark.parametrize("alpha", few([1.5, 0.0]))
def test_micro_batches_change_nothing(alpha):
    assert_micro_batches_change_nothing(TNPO(beta=4.0, alpha=alpha), RetainNLL())


def test_presets_differ_by_alpha():
    assert resolve("tnpo").method == TNPO(beta=4.0, alpha=0.0)
    assert resolve("wtnpo").method == TNPO(beta=4.0, alpha=1.5)


def test_the_guard_lets_a_small_beta_start():
    assert 50 * TNPO(beta=0.01).scale > 200 * math.log(2)


@pytest.mark.parametrize("settings", [{"beta": 0.0}, {"alpha": -1.0}])
def test_settings_without_meaning_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        resolve("tnpo", settings)
