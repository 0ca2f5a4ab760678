"""Exposure by hand, by the definition, and by chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from expunge.data.forms import with_forms
from expunge.data.record import Record
from expunge.evaluation.answering import answer_needs
from expunge.metrics.base import Answers
from expunge.metrics.exposure import Exposure, exposure
from expunge.metrics.privacy_bounds import EpsilonLowerBound
from expunge.models.load import LoadedModel
from tests.metrics.numbers import answers, array
from tests.metrics.test_decoy import TOKENIZER, persons, random_model

EXACT = 1e-12


@pytest.mark.parametrize(("own", "rank"), [(-1.0, 1), (-2.5, 2), (-3.5, 3), (-9.0, 4)])
def test_exposure_by_hand(own, rank):
    assert exposure(own, array(-2, -3, -4)) == pytest.approx(2 - math.log2(rank), abs=EXACT)


def test_equal_candidates_share_a_rank():
    assert exposure(-1.0, array(-1, -1, -1)) == pytest.approx(2 - math.log2(2.5), abs=EXACT)
    assert math.isnan(exposure(-1.0, array()))


def test_chance_is_what_the_docstring_says():
    """The mean of log2(32 / rank) over uniform ranks, and of drawn numbers."""
    rng = np.random.default_rng(0)
    drawn = np.mean([exposure(one[0], one[1:]) for one in rng.normal(size=(4000, 32))])
    assert drawn == pytest.approx(np.mean(np.log2(32 / np.arange(1, 33))), abs=0.05)
    assert drawn == pytest.approx(1.3, abs=0.1)


def test_metric_sums_over_tokens_and_leaves_out_records_without_decoys():
    metric = Exposure()
    own = [[array(-1, -1)], [array(-1)], [array()]]
    decoys = [[array(-1.5), array(-3)], [], [array(-1)]]
    assert metric.compute(answers(metric, own, decoys)).value == pytest.approx(math.log2(3) - 1, abs=EXACT)


def test_the_truth_has_the_shape_of_its_decoys():
    """Decoys by rule stand in place of the value alone: -1 is first of three, and -2 with the words around it last."""
    metric = Exposure()
    own, decoys = [[array(-1, -1)]] * 2, [[array(-1.5), array(-1.9)]] * 2
    by_rule = metric.compute(answers(metric, own, decoys, [[array(-1)], []]))
    assert list(by_rule.samples[0].values) == pytest.approx([math.log2(3), 0.0], abs=EXACT)
    assert math.isnan(metric.compute(answers(metric, own[:1], decoys[:1], [[array()]])).value)


def found(metric, model, splits: dict[str, list[Record]]) -> Answers:
    loaded = LoadedModel(model, TOKENIZER, "tiny")
    return Answers(answer_needs(loaded, splits, metric.needs(), max_length=128, batch_size=64))


def uniform():
    model = random_model(0)
    torch.nn.init.zeros_(model.lm_head.weight)
    return model


def test_a_uniform_model_exposes_nothing_and_hides_nothing():
    """Values and decoys of equally many tokens tie, and share the mean rank 16.5 of 32; whole answers are longer."""
    records = with_forms(persons(3), ["decoy"], decoys=31)
    metric = Exposure(split="forget")
    score = metric.compute(found(metric, uniform(), {"forget": records}))
    equal = [len(TOKENIZER(record.forms("value")[0].answer.reveal())["input_ids"]) for record in records]
    assert len(set(equal)) == 1  # or the by-hand value would be another
    assert list(score.samples[0].values) == pytest.approx([5 - math.log2(16.5)] * 3, abs=1e-9)


def test_the_bound_of_epsilon_compares_texts_of_one_shape_too():
    """Beyond its decoys no value is likelier to a uniform model, whatever words stand around it."""
    splits = {
        "forget": with_forms(persons(4), ["decoy"], decoys=31),
        "holdout": with_forms(persons(4, seed=1), ["decoy"], decoys=31),
    }
    metric = EpsilonLowerBound(split="forget", against="holdout")
    score = metric.compute(found(metric, uniform(), splits))
    assert np.concatenate([sample.values for sample in score.samples]) == pytest.approx([0.0] * 8, abs=1e-6)
