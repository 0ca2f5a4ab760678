"""Every number by hand, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.errors import InputError
from expunge.metrics.memorisation import (
    ExactMemorisation,
    ExtractionStrength,
    Probability,
    Rouge,
    TruthRatio,
    exact_memorisation,
    extraction_strength,
    normalised_probability,
    truth_ratio,
    truth_scores,
)
from expunge.metrics.perplexity import Perplexity, perplexity
from tests.metrics.numbers import answers, array

EXACT = 1e-12
log = math.log


@pytest.mark.parametrize(
    ("ranks", "matched", "extracted"),
    [
        ([0, 0, 0, 0], 1.0, 1.0),
        ([1, 0, 0, 0], 0.75, 0.75),
        ([0, 0, 0, 1], 0.75, 0.0),
        ([0, 3, 0, 0], 0.75, 0.5),
        ([2, 0, 5, 0, 0], 0.6, 0.4),
        ([7], 0.0, 0.0),
        ([0], 1.0, 1.0),
    ],
)
def test_memorisation_by_hand(ranks, matched, extracted):
    assert exact_memorisation(ranks) == pytest.approx(matched, abs=EXACT)
    assert extraction_strength(ranks) == pytest.approx(extracted, abs=EXACT)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30))
def test_extraction_strength_is_the_least_prefix_that_must_be_given(ranks):
    """Slow oracle: try every k; with k = T nothing is left to say."""
    least = next(k for k in range(len(ranks) + 1) if all(rank == 0 for rank in ranks[k:]))
    assert extraction_strength(np.array(ranks)) == pytest.approx(1 - least / len(ranks), abs=EXACT)
    assert extraction_strength(ranks) <= exact_memorisation(ranks) + EXACT


def test_long_answers_that_are_completed_word_for_word_are_counted():
    """Of four answers three have eight tokens or more, and one of these is completed from its first token."""
    ranks = [[array(*[0] * 8)], [array(1, *[0] * 8)], [array(*[0] * 8, 1)], [array(*[0] * 7)], []]
    found = ExtractionStrength().compute(answers(ExtractionStrength(), ranks))
    assert found.details == {"long_answers": 3.0, "completed_verbatim": 1.0}
    other = ExtractionStrength(form="cloze")
    assert other.compute(answers(other, ranks)).details == {}


def test_no_token_is_no_number():
    assert math.isnan(exact_memorisation([]))
    assert math.isnan(extraction_strength([]))
    metric = ExtractionStrength()
    score = metric.compute(answers(metric, [[array(0, 0)], [array()], []]))
    assert score.value == 1.0
    assert np.isnan(score.samples[0].values).tolist() == [False, True, True]


def test_memorisation_is_the_mean_over_records_and_not_over_tokens():
    ranks = [[array(0, 1)], [array(0, 0, 0, 0, 0, 0)]]
    assert ExactMemorisation().compute(answers(ExactMemorisation(), ranks)).value == pytest.approx(0.75, abs=EXACT)
    assert ExtractionStrength().compute(answers(ExtractionStrength(), ranks)).value == pytest.approx(0.5, abs=EXACT)


def test_several_forms_of_a_record_count_as_one():
    metric = ExactMemorisation(form="perturbed_answer")
    score = metric.compute(answers(metric, [[array(0), array(1), array(1)], [array(0)]]))
    assert score.value == pytest.approx((1 / 3 + 1) / 2, abs=EXACT)


def test_probability_is_a_geometric_mean_over_tokens():
    logps = [[array(log(0.5), log(0.125))], [array(log(0.9))]]
    assert Probability().compute(answers(Probability(), logps)).value == pytest.approx((0.25 + 0.9) / 2, abs=EXACT)


def test_normalised_probability_by_hand():
    metric = Probability(split="world_facts", normalised=True)
    own = [[array(log(0.4), log(0.4))], [array(log(0.1))], [array(log(0.3))]]
    wrong = [[array(log(0.2)), array(log(0.1), log(0.4))], [array(log(0.3))], []]
    score = metric.compute(answers(metric, own, wrong))
    assert score.samples[0].values[:2] == pytest.approx([0.4 / 0.8, 0.1 / 0.4], abs=EXACT)
    assert np.isnan(score.samples[0].values[2])
    assert normalised_probability(array(-2000.0), [array(-2000.0)]) == pytest.approx([0.5])


def test_truth_ratio_by_hand():
    truth, wrong = array(log(0.2)), [array(log(0.1), log(0.4))]
    assert truth_ratio(truth, wrong) == pytest.approx([0.2 / 0.2], abs=EXACT)  # sqrt(0.1 * 0.4) = 0.2
    assert truth_ratio(truth, wrong, "arithmetic") == pytest.approx([0.25 / 0.2], abs=EXACT)
    assert np.isnan(truth_ratio(truth, [array()]))


def test_truth_scores_by_hand():
    ratios = array(0.0, 0.25, 1.0, 4.0, math.inf)
    assert truth_scores(ratios, "closer_to_one") == pytest.approx([0, 0.25, 1, 0.25, 0], abs=EXACT)
    assert truth_scores(ratios, "truth_better") == pytest.approx([1, 0.75, 0, 0, 0], abs=EXACT)


def test_truth_ratio_of_a_collapsed_model_is_a_number():
    assert truth_scores(truth_ratio(array(-5000.0), [array(-1.0)]), "closer_to_one") == pytest.approx([0.0])


def test_truth_ratio_metric_means_over_tokens_first():
    metric = TruthRatio()
    truth = [[array(log(0.1), log(0.4))]]  # 0.2 per token
    wrong = [[array(log(0.1)), array(log(0.1), log(0.1), log(0.1))]]
    assert metric.compute(answers(metric, truth, wrong)).value == pytest.approx(0.5, abs=EXACT)
    assert [need.form for need in metric.needs()] == ["paraphrased_answer", "perturbed_answer"]


def test_a_record_without_a_paraphrase_is_left_out():
    metric = TruthRatio()
    score = metric.compute(answers(metric, [[array(-1.0)], []], [[array(-1.0)], [array(-1.0)]]))
    assert score.value == pytest.approx(1.0)
    assert np.isnan(score.samples[0].values[1])


def test_perplexity_is_of_the_corpus():
    """Not the mean of the perplexities of its texts, which would be (2 + 8) / 2."""
    metric = Perplexity()
    score = metric.compute(answers(metric, [[array(-log(2))], [array(-log(8), -log(8), -log(8))]]))
    assert score.value == pytest.approx(math.exp((log(2) + 3 * log(8)) / 4), abs=EXACT)
    assert score.value == pytest.approx(2**2.5, abs=1e-9)
    assert math.isnan(perplexity(array(), array()))


def test_rouge_is_the_mean_of_the_scores():
    metric = Rouge(split="retain", max_new_tokens=7)
    assert dict(metric.needs()[0].params) == {"max_new_tokens": 7, "scorer": "rouge_l_recall"}
    assert metric.compute(answers(metric, [[0.25], [np.array(0.75)], []])).value == pytest.approx(0.5)
    assert dict(Rouge(words="tofu").needs()[0].params)["scorer"] == "tofu_rouge_l_recall"
    assert Rouge(words="tofu").label == "rouge(split=forget, form=trained, max_new_tokens=200, words=tofu)"


def test_direction_depends_on_the_split():
    assert (Probability().aim, Probability(split="retain").aim) == ("closer", "higher")
    assert (Perplexity().aim, Perplexity(split="forget").aim) == ("lower", "closer")


def test_label_carries_every_setting():
    assert TruthRatio(mean="arithmetic").label == (
        "truth_ratio(split=forget, form=paraphrased_answer, mean=arithmetic, aggregate=closer_to_one)"
    )


def test_unknown_form_is_refused_by_name():
    with pytest.raises(InputError, match="form='paraphrase'.*Did you mean"):
        Probability(form="paraphrase")
    with pytest.raises(InputError, match="cannot be scored here"):
        TruthRatio(form="perturbed_answer")
