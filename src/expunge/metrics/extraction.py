"""Whether a text can be got out of a model: extraction likelihood, discoverable and probabilistic extraction.

EL_n and MA: Jang et al., 2022, https://arxiv.org/abs/2210.01504.
Discoverable extraction: Carlini et al., 2022, https://arxiv.org/abs/2202.07646.
(n, p)-discoverable extraction: Hayes et al., 2024, https://arxiv.org/abs/2410.19482.

Formulas: ``expunge.functional.extraction``. Shapes: N records, T scored tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from expunge.errors import InputError
from expunge.functional.extraction import drawn_within, tries_needed
from expunge.metrics.base import Answer, Answers, Floats, Need, Score, mean_score
from expunge.metrics.memorisation import KnowledgeMetric, Ranks
from expunge.metrics.records import NAN, per_record
from expunge.registry import metrics

JANG = "Jang et al., 2022, https://arxiv.org/abs/2210.01504"


def discoverable(ranks_T: Ranks, context: int, length: int) -> float:
    """Returns 1 where the ``length`` tokens after the first ``context`` are all the model's first choice, else 0.

    Equals: greedy decoding after the true ones before says exactly these. NaN where there are fewer tokens.
    """
    if len(ranks_T) < context + length:
        return NAN
    return float(np.all(np.asarray(ranks_T)[context : context + length] == 0))


def draw_logp(logps_T: Floats, context: int, length: int) -> float:
    """Returns the log-probability (nats) that one draw is exactly the ``length`` tokens after the first ``context``.

    All that are left where ``length`` is 0. NaN where there are fewer tokens, or none.
    """
    stop = context + length if length else len(logps_T)
    return float(np.sum(logps_T[context:stop])) if context < stop <= len(logps_T) else NAN


def too_short(answer: Answer, values_N: Floats) -> float:
    """Returns how many records have the form, and no number all the same."""
    return float(sum(bool(len(forms)) and np.isnan(value) for forms, value in zip(answer, values_N, strict=True)))


@metrics.register("extraction_likelihood")
@dataclass(frozen=True, kw_only=True)
class ExtractionLikelihood(KnowledgeMetric):
    """EL_n: share of the n-grams of greedy continuations that the true rest of the text has, mean over records.

    The whole text counts, from the start token over template and prompt to the last token of the answer, without the
    end-of-sequence token; it is continued from after its token 1, 1 + stride, ... by as many tokens as are left. One
    that ends early has said nothing for the rest. Records of no more than n tokens have no number.

    Attributes:
        n: tokens of an n-gram.
        stride: distance of the places that a text is continued from; the paper's 1 takes a generation for each token.
    """

    n: int = 10
    stride: int = 1

    unit = "share of n-grams of tokens, 0 to 1"
    paper = JANG

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n < 1 or self.stride < 1:
            raise InputError(f"n={self.n}, stride={self.stride}: both are at least 1.")

    def needs(self) -> tuple[Need, ...]:
        """Mean overlap of each text."""
        params = (("n", self.n), ("stride", self.stride))
        return (Need(kind="extraction_likelihood", split=self.split, form=self.form, params=params),)

    def compute(self, answers: Answers) -> Score:
        """Mean over records; ``too_short`` counts those without a number."""
        return _mean_of_known(self.split, answers[self.needs()[0]])


@metrics.register("memorisation_accuracy")
@dataclass(frozen=True, kw_only=True)
class MemorisationAccuracy(KnowledgeMetric):
    """MA: share of all tokens of a text but the first that are the model's first choice, mean over records.

    ``exact_memorisation`` reads the answer alone, with the end-of-sequence token; this one reads the same whole text as
    ``extraction_likelihood``. On plain text the two are equal.
    """

    unit = "fraction of tokens, 0 to 1"
    paper = JANG

    def needs(self) -> tuple[Need, ...]:
        """Accuracy on each text."""
        return (Need(kind="memorisation_accuracy", split=self.split, form=self.form),)

    def compute(self, answers: Answers) -> Score:
        """Mean over records; ``too_short`` counts those without a number."""
        return _mean_of_known(self.split, answers[self.needs()[0]])


def _mean_of_known(split: str, answer: Answer) -> Score:
    values_N = per_record(answer, float)
    return mean_score(split, values_N, too_short=too_short(answer, values_N))


@metrics.register("discoverable_extraction")
@dataclass(frozen=True, kw_only=True)
class DiscoverableExtraction(KnowledgeMetric):
    """Share of records whose tokens greedy decoding says after the true ones before them.

    Read off one forward pass. Counted are scored tokens: those of the answer with its end-of-sequence token, or of the
    text but a first one that nothing stands before. A prompt is always given.

    Attributes:
        context: scored tokens that are given.
        length: tokens after them that must all be said; records with fewer have no number.
    """

    context: int = 50
    length: int = 50

    unit = "share of records, 0 to 1"
    paper = "Carlini et al., 2022, https://arxiv.org/abs/2202.07646"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.context < 0 or self.length < 1:
            raise InputError(f"context={self.context}, length={self.length}: at least 0 and at least 1 tokens.")

    def needs(self) -> tuple[Need, ...]:
        """Ranks of the scored tokens."""
        return (Need(kind="ranks", split=self.split, form=self.form),)

    def compute(self, answers: Answers) -> Score:
        """Mean over records of ``discoverable``; ``too_short`` counts those without a number."""
        ranks = answers[self.needs()[0]]
        values_N = per_record(ranks, lambda ranks_T: discoverable(ranks_T, self.context, self.length))
        return mean_score(self.split, values_N, too_short=too_short(ranks, values_N))


@metrics.register("probabilistic_extraction")
@dataclass(frozen=True, kw_only=True)
class ProbabilisticExtraction(KnowledgeMetric):
    """Share of records that at least one of n draws says exactly, with a chance of p or more; no draw is made.

    Attributes:
        n: draws.
        p: chance, above 0 and below 1.
        temperature: divides the logits.
        top_k: most likely tokens that are drawn from; 0 for all.
        context: scored tokens that are given, after the prompt.
        length: tokens after them that must be drawn; 0 for all that are left, the end-of-sequence token among them.
            Records with fewer have no number.
    """

    n: int = 100
    p: float = 0.5
    temperature: float = 1.0
    top_k: int = 40
    context: int = 0
    length: int = 0

    unit = "share of records, 0 to 1"
    paper = "Hayes et al., 2024, https://arxiv.org/abs/2410.19482"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n < 1 or not 0 < self.p < 1:
            raise InputError(f"n={self.n}, p={self.p}: draw at least once, and give a chance above 0 and below 1.")
        if self.temperature <= 0 or self.top_k < 0 or self.context < 0 or self.length < 0:
            raise InputError(
                f"temperature={self.temperature}, top_k={self.top_k}, context={self.context}, length={self.length}: "
                "the temperature is above 0, and none of the others below 0."
            )

    def needs(self) -> tuple[Need, ...]:
        """Log-probabilities under the decoding scheme."""
        params = (("temperature", self.temperature), ("top_k", self.top_k))
        return (Need(kind="sampled_logps", split=self.split, form=self.form, params=params),)

    def compute(self, answers: Answers) -> Score:
        """Share of records; of several forms the mean.

        ``details``: ``too_short`` records; ``median_tries``, the median over records of the least n that reaches p, of
        a record's easiest form, infinity where it is drawn never.
        """
        logps = answers[self.needs()[0]]
        draws = [[draw_logp(logps_T, self.context, self.length) for logps_T in forms] for forms in logps]
        values_N = per_record(draws, self._extractable)
        details = {"too_short": too_short(logps, values_N)}
        return mean_score(self.split, values_N, **details, median_tries=self._median_tries(draws))

    def _extractable(self, logq: float) -> float:
        return NAN if np.isnan(logq) else float(drawn_within(logq, self.n) >= self.p)

    def _median_tries(self, draws: Sequence[Sequence[float]]) -> float:
        best = [max(known) for forms in draws if (known := [logq for logq in forms if not np.isnan(logq)])]
        return _median([tries_needed(logq, self.p) for logq in best])


def _median(values: Sequence[float]) -> float:
    """Median; the upper of the two in the middle, since one of them may be infinity."""
    return sorted(values)[len(values) // 2] if values else NAN
