"""A classifier that never sees a model: can two sets of texts be told apart by their words alone?

If so, what a membership attack finds between them may be their words and no memory. Das et al., 2024,
https://arxiv.org/abs/2406.16201; Meeus et al., 2024, https://arxiv.org/abs/2406.17975.

Logistic regression with an l2 penalty on the words that occur, scored on subjects that it was not fitted on.

Shapes: N texts, W words, F folds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from expunge.errors import InputError
from expunge.functional.words import words

Floats = NDArray[np.float64]
MAX_WORDS = 4000  # the most frequent ones; rarer ones would cost memory and say little
_NEWTON, _CONJUGATE = 50, 200  # steps at most
_SMALL = 1e-8  # relative length of a gradient that counts as none


def blind_scores(
    texts: Sequence[str],
    is_member: Sequence[bool],
    subjects: Sequence[Hashable],
    *,
    folds: int = 5,
    min_subjects: int = 5,
    penalty: float = 1.0,
    seed: int = 0,
) -> Floats:
    """Returns (N,): log-odds that a text is a member's, from texts of other subjects only; NaN where that cannot be.

    Args:
        texts: members and others.
        is_member: which of them are members.
        subjects: whom or what each text is about; a subject's texts lie in one fold.
        folds: parts that the subjects of either side are dealt into, by seed.
        min_subjects: words of fewer subjects are left out: names, which cannot generalise.
        penalty: factor on half the squared weights; the intercept has none.
        seed: of the folds.

    Raises:
        InputError: lists of different lengths, or fewer than two folds.
    """
    if not len(texts) == len(is_member) == len(subjects):
        raise InputError("Each text needs a side and a subject; the lengths differ.")
    if folds < 2:
        raise InputError(f"folds={folds} leaves nothing to fit on or nothing to score; give at least 2.")
    truth_N = np.array(is_member, dtype=bool)
    words_NW = bag_of_words(texts, subjects, min_subjects)
    fold_N = subject_folds(truth_N, subjects, folds, seed)
    scores_N = np.full(len(texts), np.nan)
    for fold in range(folds):
        held = fold_N == fold
        sides = truth_N[~held]
        if held.any() and sides.any() and not sides.all():
            weights_W, intercept = fit_logistic(words_NW[~held], sides, penalty)
            scores_N[held] = words_NW[held] @ weights_W + intercept
    return scores_N


def bag_of_words(texts: Sequence[str], subjects: Sequence[Hashable], min_subjects: int) -> Floats:
    """Returns (N, W): 1 where a word occurs in a text, for the words of at least so many subjects."""
    found = [set(words(text)) for text in texts]
    pairs = {(subject, word) for subject, one in zip(subjects, found, strict=True) for word in one}
    counts = Counter(word for _, word in pairs)
    frequent = [(count, word) for word, count in counts.items() if count >= min_subjects]
    # The most frequent ones, and among equals the first by letter, whatever the order of the texts.
    kept = [word for _, word in sorted(frequent, key=lambda pair: (-pair[0], pair[1]))[:MAX_WORDS]]
    places = {word: place for place, word in enumerate(kept)}
    bag_NW = np.zeros((len(texts), len(kept)))
    for row, one in enumerate(found):
        bag_NW[row, [places[word] for word in one if word in places]] = 1
    return bag_NW


def subject_folds(truth_N: NDArray[np.bool_], subjects: Sequence[Hashable], folds: int, seed: int) -> NDArray[np.int64]:
    """Deals the subjects of either side into folds; who is on both sides is dealt once."""
    draw = np.random.Generator(np.random.PCG64(seed))
    fold_of: dict[Hashable, int] = {}
    for side in (True, False):
        mine = _distinct(subject for subject, member in zip(subjects, truth_N, strict=True) if member == side)
        fresh = [subject for subject in mine if subject not in fold_of]
        order = draw.permutation(len(fresh))
        fold_of |= {fresh[place]: number % folds for number, place in enumerate(order)}
    return np.array([fold_of[subject] for subject in subjects], dtype=np.int64)


def fit_logistic(features_NW: Floats, truth_N: NDArray[np.bool_], penalty: float = 1.0) -> tuple[Floats, float]:
    """Returns weights (W,) and intercept with the least penalty / 2 |w|^2 + sum of weighted log losses.

    A text weighs N / (2 texts of its side), so that both sides count alike. Newton's method; each step is solved by
    conjugate gradients, which never form the (W, W) matrix, and is halved until the loss falls.
    """
    count, sides = len(truth_N), np.where(truth_N, 1.0, -1.0)
    weights_N = count / 2 / np.where(truth_N, truth_N.sum(), (~truth_N).sum())
    design_ND = np.hstack([features_NW, np.ones((count, 1))])
    ridge_D = np.append(np.full(features_NW.shape[1], penalty), 0.0)

    def loss(point_D: Floats) -> float:
        return float(point_D @ (ridge_D * point_D) / 2 + weights_N @ np.logaddexp(0, -sides * (design_ND @ point_D)))

    point_D = np.zeros(design_ND.shape[1])
    for _ in range(_NEWTON):
        odds_N = design_ND @ point_D
        miss_N = np.exp(-np.logaddexp(0, sides * odds_N))  # probability of the wrong side
        slope_D = ridge_D * point_D - design_ND.T @ (weights_N * sides * miss_N)
        if np.linalg.norm(slope_D) <= _SMALL * count:
            break
        bend_N = weights_N * miss_N * (1 - miss_N)
        step_D = _solve(design_ND, bend_N, ridge_D, slope_D)
        size = 1.0
        while loss(point_D - size * step_D) > loss(point_D) and size > _SMALL:
            size /= 2
        point_D = point_D - size * step_D
    return point_D[:-1], float(point_D[-1])


def _solve(design_ND: Floats, bend_N: Floats, ridge_D: Floats, target_D: Floats) -> Floats:
    """Solves (X^T diag(bend) X + diag(ridge)) v = target by conjugate gradients."""
    found_D, rest_D = np.zeros_like(target_D), target_D.copy()
    way_D, left = rest_D.copy(), float(rest_D @ rest_D)
    enough = left * _SMALL**2
    for _ in range(_CONJUGATE):
        if left <= enough:
            break
        bent_D = ridge_D * way_D + design_ND.T @ (bend_N * (design_ND @ way_D))
        size = left / float(way_D @ bent_D)
        found_D, rest_D = found_D + size * way_D, rest_D - size * bent_D
        before, left = left, float(rest_D @ rest_D)
        way_D = rest_D + left / before * way_D
    return found_D


def _distinct(items: Iterable[Hashable]) -> list[Hashable]:
    return list(dict.fromkeys(items))
