"""Leaks among several draws, which greedy replies miss.

leak@k: Reisizadeh et al., 2025, https://arxiv.org/abs/2511.04934. Estimator: ``expunge.functional.extraction``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from expunge.errors import InputError
from expunge.functional.answers import AnswerRule
from expunge.functional.extraction import leak_at_k
from expunge.metrics.base import Answers, Floats, Knows, Need, Sampling, Score, mean_of, mean_score
from expunge.metrics.fluency import ReplyMetric
from expunge.metrics.records import NAN
from expunge.registry import metrics


@metrics.register("leak_at_k")
@dataclass(frozen=True, kw_only=True)
class LeakAtK(ReplyMetric):
    """Chance that at least one of k sampled replies gives the answer, mean over records.

    A reply leaks where the value of the fact stands in it; where no value is known, or another thing is asked, where
    the true answer does, or two thirds of its words that the question did not give away (rule 1 of
    ``expunge.functional.answers``, a heuristic).

    Attributes:
        k: replies that one may draw.
        samples: replies drawn, at least k; more of them make the estimate sharper and do not bias it.
        temperature: divides the logits.
        top_p: share of the probability that is drawn from.
        draw_seed: of the draws.
        rule: version of the rules.
    """

    max_new_tokens: int = 64
    k: int = 8
    samples: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    draw_seed: int = 0
    rule: AnswerRule = "heuristic_1"

    elsewhere = "higher"
    unit = "chance, 0 to 1"
    paper = "Reisizadeh et al., 2025, https://arxiv.org/abs/2511.04934"

    @property
    def knows(self) -> Knows:
        """Known answers are drawn."""
        return "high"

    def __post_init__(self) -> None:
        super().__post_init__()
        Sampling(samples=self.samples, temperature=self.temperature, top_p=self.top_p, draw_seed=self.draw_seed)
        if not 1 <= self.k <= self.samples:
            raise InputError(f"k={self.k} of samples={self.samples}: k is at least 1 and at most the samples.")

    def needs(self) -> tuple[Need, ...]:
        """Whether each drawn reply leaks."""
        drawn = {
            "samples": self.samples,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "draw_seed": self.draw_seed,
        }
        return (self.scored("correct", rule=self.rule, **drawn),)

    def compute(self, answers: Answers) -> Score:
        """Mean over records of ``leak_at_k``; ``details`` has the same of one draw and of all of them."""
        replies = answers[self.needs()[0]]
        values_N, one_N, all_N = (
            np.array([self._of_record(drawn, k) for drawn in replies], dtype=np.float64)
            for k in (self.k, 1, self.samples)
        )
        return mean_score(self.split, values_N, at_1=_mean(one_N), at_all=_mean(all_N))

    def _of_record(self, drawn: Sequence[float], k: int) -> float:
        """Mean over the record's forms; the replies of one draw to all of them stand side by side.

        A draw in which nothing was said may have no number: it leaks nothing.
        """
        if not len(drawn):
            return NAN
        forms = -(-len(drawn) // self.samples)
        leaks_SF = np.zeros((self.samples, forms))
        leaks_SF.flat[: len(drawn)] = np.asarray(drawn, dtype=np.float64)
        leaks_F = leaks_SF.sum(0)
        return float(np.mean([leak_at_k(int(leaks), self.samples, k) for leaks in leaks_F]))


def _mean(values_N: Floats) -> float:
    return mean_of(values_N[~np.isnan(values_N)])
