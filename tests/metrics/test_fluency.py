"""Every number of how a model speaks, by hand, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from expunge.errors import InputError
from expunge.functional.fluency import distinct_credits
from expunge.functional.statistics import bootstrap_interval
from expunge.metrics.fluency import DistinctN, EmptyRate, Repetition, ReplyLength, ReplyPerplexity
from tests.metrics.numbers import answers, array

EXACT = 1e-12
log = math.log


@pytest.mark.parametrize("metric", [EmptyRate(), ReplyLength()])
def test_means_over_records(metric):
    """Replies to several forms of a record count as one; a record without a reply is left out."""
    score = metric.compute(answers(metric, [[1.0, 0.0], [np.array(1.0)], []]))
    assert score.value == pytest.approx(0.75, abs=EXACT)
    assert np.isnan(score.samples[0].values).tolist() == [False, False, True]


def test_repetition_by_hand():
    metric = Repetition(n=2)
    score = metric.compute(answers(metric, [[0.5], [0.1], []], [[1.0], [0.0], []]))
    assert score.value == pytest.approx(0.3, abs=EXACT)
    assert score.details == {"longest_repetition": pytest.approx(0.5, abs=EXACT)}
    repeated, longest = metric.needs()
    assert dict(repeated.params) == {"max_new_tokens": 200, "n": 2, "scorer": "repeated_ngrams"}
    assert dict(longest.params) == {"max_new_tokens": 200, "scorer": "longest_repetition"}


def test_distinct_is_of_the_corpus():
    """Replies "a b", "a b", "c d": 2 distinct of 3 pairs, where each reply alone has all of its own distinct."""
    metric = DistinctN()
    parts = [[part] for part in distinct_credits(["a b", "a b", "c d"], 2)]
    assert metric.compute(answers(metric, [*parts, []])).value == pytest.approx(2 / 3, abs=EXACT)
    assert metric.compute(answers(DistinctN(), [[array(2.5, 4)], [array(0.5, 2), array(1, 2)]])).value == 0.5
    assert math.isnan(metric.compute(answers(metric, [[array(0, 0)]])).value)


def test_interval_of_distinct_holds_the_value():
    """Counting distinct pairs again in each draw would not: a draw holds replies twice, and they add nothing new."""
    texts = [f"t{number} u{number % 7} v{number % 3}" for number in range(60)]
    metric = DistinctN()
    score = metric.compute(answers(metric, [[part] for part in distinct_credits(texts, 2)]))
    pairs = {pair for text in texts for pair in zip(text.split(), text.split()[1:], strict=False)}
    assert score.value == pytest.approx(len(pairs) / 120, abs=EXACT)
    samples = [sample.values for sample in score.samples]
    interval = bootstrap_interval(samples, score.statistic, clusters=[list(range(60))] * 2, resamples=200)
    assert interval.low < score.value < interval.high


def test_perplexity_of_replies_is_of_the_corpus():
    metric = ReplyPerplexity()
    pairs = [[array(log(2), 1)], [array(3 * log(8), 3)], [array(0, 0)], []]
    assert metric.compute(answers(metric, pairs)).value == pytest.approx(2**2.5, abs=1e-9)
    assert math.isnan(metric.compute(answers(metric, [[array(0, 0)]])).value)
    assert dict(metric.needs()[0].params) == {"judge": "original", "max_new_tokens": 200}
    assert metric.label.endswith("judge=original)")


def test_directions():
    kinds = (Repetition, DistinctN, EmptyRate, ReplyLength, ReplyPerplexity)
    assert {kind().aim for kind in kinds} == {kind(split="holdout").aim for kind in kinds} == {"closer"}
    assert [kind(split="retain").aim for kind in kinds] == ["lower", "higher", "lower", "closer", "lower"]


@pytest.mark.parametrize("kind", [Repetition, DistinctN])
def test_ngrams_of_no_words_are_refused(kind):
    with pytest.raises(InputError, match="n=0 is no number of words"):
        kind(n=0)
    with pytest.raises(InputError, match="cannot be scored here"):
        kind(form="paraphrase")
