"""Attacks that read other texts, gradients or token frequencies, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from expunge.data.transforms import AfterOthers, Lowercase, WordDropout
from expunge.errors import InputError
from expunge.metrics.base import Answers, Need
from expunge.metrics.membership_texts import (
    MiaDcPdd,
    MiaGradNorm,
    MiaLowercase,
    MiaNeighbourhood,
    MiaRecall,
    dc_pdd,
    neighbourhood_score,
    ratio_score,
)
from tests.metrics.numbers import answers, array

EXACT = 1e-9


def scores(metric, *per_need) -> dict[str, list[float]]:
    return {sample.split: sample.values.tolist() for sample in metric.compute(answers(metric, *per_need)).samples}


def test_lowercase_by_hand():
    """Losses 1 and 4 in lower case, -1/4; a text without capitals has -1; one without a number in lower case none."""
    metric = MiaLowercase()
    own, lower = [[array(-1, -1)], [array(-2)], [array(-2)]], [[array(-3, -5)], [array(-2)], [array()]]
    found = scores(metric, own, lower, [[array(-3)]], [[array(-4)]])
    assert found["forget"][:2] == pytest.approx([-0.25, -1], abs=EXACT)
    assert math.isnan(found["forget"][2])
    assert found["holdout"] == pytest.approx([-0.75], abs=EXACT)
    assert metric.needs()[1] == Need(kind="token_logps", split="forget", transform=Lowercase())
    assert math.isnan(ratio_score(-1.0, 0.0))


def test_neighbourhood_by_hand():
    """Neighbours at -2 and -4: three nats below a text at 0, one above a text at -4; one word has no neighbour."""
    metric = MiaNeighbourhood(copies=2)
    around = [[array(-2, -2), array(-4)], [array(-2), array(-4)], []]
    found = scores(metric, [[array(0.0)], [array(-4)], [array(-1)]], around, [[array(-5)]], [[array(-5), array(-5)]])
    assert found["forget"][:2] == pytest.approx([3, -1], abs=EXACT)
    assert math.isnan(found["forget"][2])
    assert found["holdout"] == [0]
    assert metric.needs()[1].transform == WordDropout(copies=2)


def test_a_model_that_finds_all_tokens_alike_gives_one_half():
    """Means of 4 and of 7 equal numbers differ in the last bit."""
    logp = math.log(1 / 61)
    own = [[np.full(length, logp)] for length in range(2, 40)]
    other = [[np.full(length - 1, logp), np.full(length + 3, logp)] for length in range(2, 40)]
    shorter = [[np.full(3, logp)] for _ in own]
    metric = MiaNeighbourhood()
    assert metric.compute(answers(metric, own, other, shorter, other)).value == 0.5
    metric = MiaLowercase()
    assert metric.compute(answers(metric, own, other, shorter, other)).value == 0.5


def test_substitutes_are_in_the_label():
    label = "mia_neighbourhood(split=forget, against=holdout, neighbours=word_dropout, copies=8, share=0.2, seed=0)"
    assert MiaNeighbourhood().label == label
    with pytest.raises(InputError, match="use word_dropout"):
        MiaNeighbourhood(neighbours="mask_filling")
    with pytest.raises(InputError, match="share of words"):
        MiaNeighbourhood(share=1.5)


def test_gradient_norm_is_lower_for_members():
    metric = MiaGradNorm()
    found = scores(metric, [[0.5], [math.nan], []], [[2.0]])
    assert found["forget"][0] == -0.5
    assert np.isnan(found["forget"][1:]).all()
    assert metric.compute(answers(metric, [[0.5]], [[2.0]])).value == 1


def test_recall_by_hand():
    """A member at -1 falls to -3 after records never seen, ratio 3; an unseen record stays at -4, ratio 1."""
    metric = MiaRecall(shots=2)
    own, after = [[array(-1, -1)], [array(-2)]], [[array(-3, -3)], [array(-3)]]
    holdout, holdout_after = [[array(-4)]] * 4, [[array(-40)], [array(-40)], [array(-4)], [array(-2)]]
    found = scores(metric, own, after, holdout, holdout_after)
    assert found["forget"] == pytest.approx([3, 1.5], abs=EXACT)
    assert np.isnan(found["holdout"][:2]).all()  # they stand before the others
    assert found["holdout"][2:] == pytest.approx([1, 0.5], abs=EXACT)
    assert metric.needs()[3] == Need(
        kind="token_logps", split="holdout", transform=AfterOthers(split="holdout", count=2)
    )


def test_recall_leaves_out_nobody_where_the_prefix_is_another_split():
    metric = MiaRecall(shots=2, prefix="plain_text_holdout")
    found = scores(metric, [[array(-1)]], [[array(-3)]], [[array(-4)]] * 2, [[array(-4)]] * 2)
    assert found == {"forget": [3], "holdout": [1, 1]}
    assert {need.beside for need in metric.needs()} == {None, "plain_text_holdout"}


def test_recall_has_no_number_where_the_prefix_left_no_room():
    metric = MiaRecall(prefix="other")
    found = scores(metric, [[array(-1, -1)], [array(-1)], []], [[array(-3)], [], []], [[array(-4)]], [[array(-4, -2)]])
    assert np.isnan(found["forget"]).all()
    assert found["holdout"] == [0.5]  # alone, nothing stands before the first token; it counts on neither side
    with pytest.raises(InputError, match="at least 1"):
        MiaRecall(shots=0)


def test_dc_pdd_by_hand():
    """Probability 0.5 and f e^-2 add 1; 0.1 and f e^-3 add 0.3, bounded; the third token stood there before."""
    logps, frequencies = np.log([0.5, 0.1, 0.9]), np.array([[-2, 1], [-3, 1], [-9, 0]], dtype=float)
    assert dc_pdd(logps, frequencies, 10) == pytest.approx((1 + 0.3) / 2, abs=EXACT)
    assert dc_pdd(logps, frequencies, 0.5) == pytest.approx((0.5 + 0.3) / 2, abs=EXACT)
    assert math.isnan(dc_pdd(logps[2:], frequencies[2:], 1))
    assert math.isnan(dc_pdd(array(), np.zeros((0, 2)), 1))


def test_dc_pdd_reads_frequencies_of_its_corpus():
    metric = MiaDcPdd(a=1.0)
    rare, common = np.array([[-8.0, 1]]), np.array([[-1.0, 1]])
    score = metric.compute(answers(metric, [[array(-3)]], [[rare]], [[array(-3)]], [[common]]))
    assert score.value == 1  # equally likely, and likelier than its frequency
    assert score.samples[0].values == pytest.approx([8 * math.exp(-3)])
    assert metric.needs()[1] == Need(kind="token_frequency", split="forget", params=(("corpus", "retain"),))
    assert metric.needs()[1].beside == "retain"
    with pytest.raises(InputError, match="above 0"):
        MiaDcPdd(a=0)


def test_neighbourhood_score_of_none():
    assert math.isnan(neighbourhood_score(-1.0, array()))
    assert isinstance(MiaGradNorm().compute(Answers({need: [[1.0]] for need in MiaGradNorm().needs()})).value, float)
