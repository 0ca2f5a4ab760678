"""The blind classifier: its fit against scikit-learn, its folds, and what it finds and does not find."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from expunge.errors import InputError
from expunge.functional.blind import MAX_WORDS, bag_of_words, blind_scores, fit_logistic, subject_folds
from expunge.functional.statistics import auc


def drawn(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{number}" for number in rng.integers(0, 40, 12)) for _ in range(count)]


@pytest.mark.parametrize("penalty", [1.0, 0.05])
def test_fit_against_scikit_learn(penalty):
    rng = np.random.default_rng(0)
    features = (rng.random((90, 25)) < 0.3).astype(float)
    truth = rng.random(90) < 0.2 + 0.5 * features[:, 0]
    weights, intercept = fit_logistic(features, truth, penalty)
    oracle = LogisticRegression(C=1 / penalty, class_weight="balanced", tol=1e-10, max_iter=10_000).fit(features, truth)
    assert weights == pytest.approx(oracle.coef_[0], abs=1e-4)
    assert intercept == pytest.approx(oracle.intercept_[0], abs=1e-4)


def test_fit_where_the_sides_can_be_told_apart_ends():
    features = np.repeat(np.eye(2), 30, axis=0)
    weights, intercept = fit_logistic(features, np.arange(60) < 30, 1e-3)
    assert np.isfinite(weights).all()
    assert weights[0] == pytest.approx(-weights[1], abs=1e-6)
    assert intercept == pytest.approx(0, abs=1e-6)


def test_words_of_few_subjects_are_left_out():
    texts = ["Ada likes tea", "Ada likes tea", "Bob likes tea", "Cem likes Rum"]
    bag = bag_of_words(texts, ["a", "a", "b", "c"], 2)
    assert bag.tolist() == [[1, 1], [1, 1], [1, 1], [1, 0]]  # likes, tea; Ada is said twice and by one
    assert bag_of_words(texts, "abcd", 2).shape == (4, 3)
    assert bag_of_words([" ".join(f"w{number}" for number in range(MAX_WORDS + 9))], "a", 1).shape == (1, MAX_WORDS)


def test_subjects_stay_together_and_both_sides_are_in_every_fold():
    subjects = [f"s{number // 3}" for number in range(60)]
    truth = np.arange(60) < 30
    folds = subject_folds(truth, subjects, 5, 0)
    assert all(len({fold for fold, name in zip(folds, subjects, strict=True) if name == one}) == 1 for one in subjects)
    for fold in range(5):
        assert (truth[folds == fold].sum(), (~truth[folds == fold]).sum()) == (6, 6)
    assert (folds != subject_folds(truth, subjects, 5, 1)).any()


def test_nothing_is_found_where_nothing_is():
    """Over some draws the mean area is one half, also where each subject has words of its own."""
    areas = []
    for seed in range(12):
        texts = [f"{text} name{number // 4}" for number, text in enumerate(drawn(160, seed))]
        subjects = [number // 4 for number in range(160)]
        truth = np.arange(160) < 80
        scores = blind_scores(texts, truth, subjects, min_subjects=1, seed=seed)
        areas.append(auc(scores[truth], scores[~truth]))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.05)


def test_folds_by_record_would_find_the_subjects():
    """The same texts with every record its own subject: names give them away. What the folds are for."""
    texts = [f"{text} name{number // 4}" for number, text in enumerate(drawn(160))]
    truth = np.arange(160) < 80
    scores = blind_scores(texts, truth, range(160), min_subjects=1)
    assert auc(scores[truth], scores[~truth]) > 0.8


def test_a_word_of_one_side_is_found():
    texts = [text + " indeed" * (number < 60 and number % 2) for number, text in enumerate(drawn(120))]
    truth = np.arange(120) < 60
    scores = blind_scores(texts, truth, range(120))
    assert auc(scores[truth], scores[~truth]) > 0.65
    assert np.isfinite(scores).all()


def test_exchanged_sides_are_the_mirror_image_and_seeds_reproduce():
    texts, truth = drawn(60), np.arange(60) < 20
    once = blind_scores(texts, truth, range(60))
    assert blind_scores(texts, truth, range(60)).tolist() == once.tolist()
    features = bag_of_words(texts, range(60), 5)
    weights, intercept = fit_logistic(features, truth)
    mirrored, other = fit_logistic(features, ~truth)
    assert mirrored == pytest.approx(-weights, abs=1e-5)
    assert other == pytest.approx(-intercept, abs=1e-5)


def test_too_few_to_fit_on():
    assert np.isnan(blind_scores(["a b", "c d"], [True, False], [0, 1])).all()
    assert len(blind_scores([], [], [])) == 0
    with pytest.raises(InputError, match="lengths differ"):
        blind_scores(["a"], [True, False], [0])
    with pytest.raises(InputError, match="folds=1"):
        blind_scores(["a"], [True], [0], folds=1)
