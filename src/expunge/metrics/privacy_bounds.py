"""A lower bound on epsilon from canaries, some of which the model was trained on and then made to forget.

Steinke, Nasr, Jagielski, 2023, https://arxiv.org/abs/2305.08846; pairs of which one is included: Mahloujifar et al.,
2024, https://arxiv.org/abs/2410.22235.

Shapes: N canaries inside, M outside, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import scipy.stats

from expunge.errors import InputError
from expunge.functional.privacy_bounds import one_run_epsilon, two_point_epsilon
from expunge.metrics.base import Answers, Floats, Metric, Need, Sample, Score
from expunge.metrics.exposure import CANARIES
from expunge.metrics.membership import rounded
from expunge.metrics.records import NAN, decoy_needs, truths
from expunge.registry import metrics

Bound = Literal["one_run", "two_point"]


class Found(NamedTuple):
    """A bound and the counts behind it; see ``one_run`` and ``two_point``."""

    epsilon: float
    counts: dict[str, float]


def pairs(inside_N: Floats, outside_M: Floats, seed: int) -> tuple[Floats, Floats]:
    """Draws each canary of the smaller side a partner from the other one, both sides in random order.

    Where roles are drawn without regard to the canaries, it is a fair coin, and one of its own, which canary of a pair
    is inside. That is what the bound from one run asks for; the coin of a single canary need not be fair.
    """
    draw = np.random.Generator(np.random.PCG64(seed))
    count = min(len(inside_N), len(outside_M))
    return inside_N[draw.permutation(len(inside_N))[:count]], outside_M[draw.permutation(len(outside_M))[:count]]


def one_run(inside_P: Floats, outside_P: Floats, delta: float = 0.0, level: float = 0.95) -> Found:
    """Guesses which of each pair is inside, and abstains where their scores are near each other.

    From when on to guess, and whether high or low scores are taken for inside, is chosen on the first half of the
    pairs; the second half counts.
    """
    gaps_P = inside_P - outside_P
    chosen, counted = gaps_P[: len(gaps_P) // 2], gaps_P[len(gaps_P) // 2 :]
    sign, least = _choose_gap(chosen, level)
    guessed = np.abs(counted) >= least
    guesses, right = int(guessed.sum()), int((sign * counted[guessed] > 0).sum())
    size = len(counted)
    most = one_run_epsilon(size, size, size, delta=delta, level=level) if size else 0.0
    counts = {"pairs": size, "guesses": guesses, "right": right, "orientation": sign, "at_most": most}
    bound = one_run_epsilon(size, guesses, right, delta=delta, level=level) if guesses else 0.0
    return Found(bound, {name: float(value) for name, value in counts.items()})


def two_point(inside_P: Floats, outside_P: Floats, delta: float = 0.0, level: float = 0.95) -> Found:
    """Calls a canary inside from a threshold on, which is chosen on the first half of each side with its orientation.

    As if canaries were independent trials, which those of one model are only nearly.
    """
    half = len(inside_P) // 2

    def epsilon(sign: int, threshold: float, part: slice) -> Found:
        found, wrong = (int((sign * side[part] >= sign * threshold).sum()) for side in (inside_P, outside_P))
        size = len(inside_P[part])
        bound = two_point_epsilon(found, size, wrong, size, delta=delta, level=level)
        most = two_point_epsilon(size, size, 0, size, delta=delta, level=level)
        counts = {
            "pairs": size,
            "true_positives": found,
            "false_positives": wrong,
            "orientation": sign,
            "at_most": most,
        }
        return Found(bound, {name: float(value) for name, value in counts.items()})

    if not half:
        return Found(0.0, {"pairs": float(len(inside_P))})
    candidates = [(sign, float(score)) for sign in (1, -1) for score in inside_P[:half]]
    sign, threshold = max(candidates, key=lambda one: epsilon(one[0], one[1], slice(half)).epsilon)
    return epsilon(sign, threshold, slice(half, None))


def _choose_gap(gaps_P: Floats, level: float) -> tuple[int, float]:
    """Orientation, and the gap from which on to guess, with the largest bound on these pairs; both ways tied, high."""
    best = (-np.inf, 1, 0.0)
    sizes = np.sort(np.abs(gaps_P))[::-1]
    guesses = np.searchsorted(-sizes, -sizes, side="right")  # pairs with a gap of this size or more
    for sign in (1, -1):
        right = np.array([(sign * gaps_P[np.abs(gaps_P) >= size] > 0).sum() for size in sizes])
        # Lower bound of the rate of right guesses; without delta the bound on epsilon is its logit.
        rates = np.nan_to_num(scipy.stats.beta.ppf(1 - level, right, guesses - right + 1))
        for rate, size in zip(rates, sizes, strict=True):
            best = max(best, (float(rate), sign, float(size)), key=lambda one: one[0])
    return best[1], best[2]


@metrics.register("epsilon_lower_bound")
@dataclass(frozen=True, kw_only=True)
class EpsilonLowerBound(Metric):
    """How far, at least, the models are apart that forgot one canary and another: a lower bound on epsilon.

    A canary's score is its log-probability beyond the mean of its decoys; of several copies the one with decoys counts.
    0 shows nothing. ``details`` has the counts; ``at_most``, what an attack that is always right would show with so few
    canaries (2.1 with 25 pairs, 0 with 4); and, without delta, ``to_reference``, half the value: what holds of the
    distance from a model that saw neither. Only canaries that the model was asked to forget belong in ``split``.

    Attributes:
        split: canaries that were trained on and forgotten; their records need the form ``decoy``.
        against: canaries that no model has seen; which ones was drawn without regard to them.
        bound: ``one_run`` guesses about pairs; ``two_point`` takes canaries for independent runs.
        delta: of (epsilon, delta).
        level: confidence of the bound.
        seed: of the pairs and halves.
    """

    split: str = CANARIES
    against: str = "canaries_out"
    bound: Bound = "one_run"
    delta: float = 0.0
    level: float = 0.95
    seed: int = 0

    direction = "lower"
    resampled = False
    unit = "nats, 0 or above, 0 where nothing is shown"
    paper = "Steinke et al., 2023, https://arxiv.org/abs/2305.08846"

    def __post_init__(self) -> None:
        if self.bound not in ("one_run", "two_point"):
            raise InputError(f"bound={self.bound!r} is not there; use one_run or two_point.")
        if not 0 <= self.delta < 1 or not 0 < self.level < 1:
            raise InputError(
                f"delta={self.delta}, level={self.level}: both are probabilities below 1, the level above 0."
            )

    def needs(self) -> tuple[Need, ...]:
        """Log-probabilities of the codes and of their decoys."""
        inside, outside = decoy_needs(self.split), decoy_needs(self.against)
        return (*inside[:2], *outside[:2], inside[2], outside[2])

    def compute(self, answers: Answers) -> Score:
        """The bound, with its counts in ``details``."""
        inside, outside = (rounded(_beyond_decoys(answers, split)) for split in (self.split, self.against))
        samples = (Sample(self.split, inside), Sample(self.against, outside))
        found = self._bound(*(values[~np.isnan(values)] for values in (inside, outside)))
        half = {"to_reference": found.epsilon / 2} if self.delta == 0 else {}
        return Score(samples, self._epsilon, {**found.counts, **half})

    def _epsilon(self, inside_N: Floats, outside_M: Floats) -> float:
        return self._bound(inside_N, outside_M).epsilon if len(inside_N) and len(outside_M) else NAN

    def _bound(self, inside_N: Floats, outside_M: Floats) -> Found:
        rule = one_run if self.bound == "one_run" else two_point
        return rule(*pairs(inside_N, outside_M, self.seed), self.delta, self.level)


def _beyond_decoys(answers: Answers, split: str) -> Floats:
    trained, decoys, value = decoy_needs(split)
    pairs = zip(truths(answers, trained, value), answers[decoys], strict=True)
    return np.array([_of_canary(one, many) for one, many in pairs], dtype=np.float64)


def _of_canary(own: Sequence[Floats], decoys: Sequence[Floats]) -> float:
    """Log-probability of the code minus the decoys' mean, nats; NaN without decoys, or where one was cut off."""
    if not own or not decoys or not all(len(logps_T) for logps_T in (*own, *decoys)):
        return NAN
    return float(np.sum(own[0]) - np.mean([np.sum(logps_T) for logps_T in decoys]))
