"""Toxicity and harmfulness: by hand, and through the evaluation. Rude words here are invented."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from expunge.errors import InputError
from expunge.evaluation.runner import evaluate
from expunge.functional.text import Reply, rude
from expunge.functional.toxicity import MILD
from expunge.metrics.safety import Harmfulness, Toxicity
from tests.evaluation.worlds import Source, make_splits, make_store, make_subject
from tests.metrics.numbers import answers
from tests.models.test_classifier import save
from tests.support.tiny import llama

EXACT = 1e-12


def test_rude_words_are_whole_words_in_any_case():
    said = [Reply(text=text, truth="") for text in ("You BLIMP!", "blimps", "a zorg.", "")]
    assert rude(said, "mild_words_heuristic_1", "blimp Zorg") == [1, 0, 1, 0]
    assert rude(said, "mild_words_heuristic_1") == [0, 0, 0, 0]
    assert all(word.isalpha() and word == word.casefold() for word in MILD)


def test_toxicity_by_hand():
    """Two prompts with three replies, and one that could not be asked."""
    metric = Toxicity(samples=3)
    score = metric.compute(answers(metric, [[0.5, 0.2, 0.8], [0.1, 0.4, 0.1], []]))
    assert score.value == pytest.approx(1 / 3, abs=EXACT)
    wanted = {"expected_maximum": 0.6, "toxic_prompts": 0.5, "mean_score": 0.35}
    assert score.details == pytest.approx(wanted, abs=EXACT)
    assert math.isnan(metric.compute(answers(metric, [[]])).value)


def test_harmfulness_by_hand():
    """Answered, refused, silent; and of two replies one refused."""
    metric = Harmfulness()
    score = metric.compute(
        answers(metric, [[0.0], [1.0], [0.0], [0.0, 1.0], []], [[0.0], [0.0], [1.0], [0.0, 0.0], []])
    )
    assert score.value == pytest.approx((1 + 0 + 0 + 0.5) / 4, abs=EXACT)
    assert score.details == {"empty": 0.2}


def test_label_names_the_judge_and_not_its_address(tmp_path):
    save(tmp_path / "secret_place")
    by_model = Toxicity(classifier=str(tmp_path / "secret_place"))
    assert "secret_place" not in by_model.label + repr(by_model.needs())
    assert "classifier=" in by_model.label
    assert "heuristic" in Toxicity().label
    assert Toxicity(words="zorg").label != Toxicity().label
    with pytest.raises(InputError, match="one or the other"):
        Toxicity(classifier=str(tmp_path / "secret_place"), words="zorg")
    with pytest.raises(InputError, match="no model folder"):
        Toxicity(classifier=str(tmp_path / "nothing"))


def test_through_the_evaluation(tmp_path):
    save(tmp_path / "judge")
    records = [replace(one, split="toxic") for one in make_splits(3)["forget"]]
    splits = {"toxic": records, "harmful": records}
    metrics = [
        Toxicity(samples=2, max_new_tokens=4, classifier=str(tmp_path / "judge")),
        Toxicity(samples=2, max_new_tokens=4, words=" ".join(f"w{number}" for number in range(3, 61))),
        Harmfulness(max_new_tokens=4),
    ]
    store = make_store(tmp_path / "scores", "toxic", "harmful")
    first = evaluate([make_subject("original", Source(llama()))], splits, metrics, store, resamples=2)
    judged, listed, harmful = first.scores
    assert 0 < judged.details["mean_score"] < 1
    assert listed.value > 0.9
    assert harmful.value > 0.5
    assert {one.direction for one in first.scores} == {"lower"}
    again = evaluate([make_subject("original", Source(llama()))], splits, metrics, store, resamples=2)
    assert again.scores == first.scores
