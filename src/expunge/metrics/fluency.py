"""How a model speaks: repetition, variety, length, silence, and what the original model thinks of its sentences.

A model that forgot by breaking says nothing, or one thing over and over; scores of knowledge take that for success.

Repetition: Welleck et al., 2020, https://arxiv.org/abs/1908.04319 (seq-rep-n).
Distinct n-grams: Li et al., 2016, https://arxiv.org/abs/1510.03055.

All numbers are read from greedy replies, and metrics of one split, form and length share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from expunge.errors import InputError
from expunge.metrics.base import Answers, Direction, Floats, Metric, Need, Sample, Score, mean_score
from expunge.metrics.perplexity import perplexity
from expunge.metrics.records import FORGET_SIDE, check_form, known_mean, per_record
from expunge.registry import metrics

WELLECK = "Welleck et al., 2020, https://arxiv.org/abs/1908.04319"


@dataclass(frozen=True, kw_only=True)
class ReplyMetric(Metric):
    """Base of metrics that read what a model says to the prompts of one form of one split.

    Attributes:
        split: split to read.
        form: form of its records, see ``expunge.data.record.FORMS``.
        max_new_tokens: length at which replies are cut.
    """

    split: str = "forget"
    form: str = "trained"
    max_new_tokens: int = 200

    direction: ClassVar[Direction] = "closer"
    elsewhere: ClassVar[Direction] = "closer"  # direction on splits that the retrained model has seen

    def __post_init__(self) -> None:
        check_form(self.form)

    @property
    def aim(self) -> Direction:
        """To the retrained model's value on the forget side, ``elsewhere`` on the others."""
        return "closer" if self.split in FORGET_SIDE else self.elsewhere

    def scored(self, scorer: str, **settings: Any) -> Need:
        """Returns the need of a scorer of ``expunge.functional.text``."""
        return reply_need(self.split, self.form, self.max_new_tokens, scorer, **settings)

    def judged(self) -> Need:
        """Returns the need of what the original model finds of the replies."""
        params = (("judge", "original"), ("max_new_tokens", self.max_new_tokens))
        return Need(kind="reply_nats", split=self.split, form=self.form, params=params)


def reply_need(split: str, form: str, max_new_tokens: int, scorer: str, **settings: Any) -> Need:
    """Returns the need of one scorer's numbers of greedy replies."""
    params = {"max_new_tokens": max_new_tokens, "scorer": scorer, **settings}
    return Need(kind="generation_score", split=split, form=form, params=tuple(sorted(params.items())))


@metrics.register("repetition")
@dataclass(frozen=True, kw_only=True)
class Repetition(ReplyMetric):
    """Share of a reply's n-grams of words that it said before, mean over records.

    Attributes:
        n: words of an n-gram; the paper's 4 finds nothing in replies of a few words, 2 does.
    """

    n: int = 4

    elsewhere = "lower"
    unit = "share of n-grams, 0 to 1"
    paper = WELLECK

    def __post_init__(self) -> None:
        super().__post_init__()
        check_n(self.n)

    def needs(self) -> tuple[Need, ...]:
        """Repeated n-grams, and the longest loop."""
        return self.scored("repeated_ngrams", n=self.n), self.scored("longest_repetition")

    def compute(self, answers: Answers) -> Score:
        """Mean over records; ``longest_repetition`` is the mean share of a reply's characters in its longest loop."""
        repeated, longest = (per_record(answers[need], float) for need in self.needs())
        return mean_score(self.split, repeated, longest_repetition=known_mean(longest))


@metrics.register("distinct_n")
@dataclass(frozen=True, kw_only=True)
class DistinctN(ReplyMetric):
    """Distinct n-grams of words over all replies of a split, as a share of all their n-grams.

    The interval takes how often an n-gram occurs as given: a draw holds subjects twice, and would have fewer distinct
    n-grams for that alone.

    Attributes:
        n: words of an n-gram.
    """

    n: int = 2

    elsewhere = "higher"
    unit = "share of n-grams, 0 to 1"
    paper = "Li et al., 2016, https://arxiv.org/abs/1510.03055"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_n(self.n)

    def needs(self) -> tuple[Need, ...]:
        """Each reply's part in the distinct n-grams of all."""
        return (self.scored("distinct", n=self.n),)

    def compute(self, answers: Answers) -> Score:
        """Sum of the parts over sum of the n-grams."""
        parts_N2 = sums_of_pairs(answers[self.needs()[0]])
        return Score((Sample(self.split, parts_N2[:, 0]), Sample(self.split, parts_N2[:, 1])), _ratio)


@metrics.register("empty_rate")
@dataclass(frozen=True, kw_only=True)
class EmptyRate(ReplyMetric):
    """Share of replies in which nothing visible is said."""

    elsewhere = "lower"
    unit = "share of replies, 0 to 1"

    def needs(self) -> tuple[Need, ...]:
        """Whether each reply is empty."""
        return (self.scored("empty"),)

    def compute(self, answers: Answers) -> Score:
        """Mean over records."""
        return mean_score(self.split, per_record(answers[self.needs()[0]], float))


@metrics.register("reply_length")
@dataclass(frozen=True, kw_only=True)
class ReplyLength(ReplyMetric):
    """Words of a reply, mean over records; in scripts without spaces, pairs of characters."""

    unit = "words, from 0"

    def needs(self) -> tuple[Need, ...]:
        """Words of each reply."""
        return (self.scored("length"),)

    def compute(self, answers: Answers) -> Score:
        """Mean over records."""
        return mean_score(self.split, per_record(answers[self.needs()[0]], float))


@metrics.register("reply_perplexity")
@dataclass(frozen=True, kw_only=True)
class ReplyPerplexity(ReplyMetric):
    """Perplexity of the model's own replies under the original model, after the prompt, over all tokens of a split.

    Fluent and false is less likely than the truth that the original knows, so the retrained model's value is above the
    original's on the forget side.

    Attributes:
        judge: the model that reads the replies.
    """

    judge: Literal["original"] = "original"

    elsewhere = "lower"
    unit = "perplexity, from 1"
    paper = "Jelinek et al., 1977, https://doi.org/10.1121/1.2016299"

    def needs(self) -> tuple[Need, ...]:
        """Negative log-likelihood and tokens of each reply."""
        return (self.judged(),)

    def compute(self, answers: Answers) -> Score:
        """``perplexity`` over all replies; NaN where all are empty."""
        pairs_N2 = sums_of_pairs(answers[self.needs()[0]])
        samples = (Sample(self.split, pairs_N2[:, 0]), Sample(self.split, pairs_N2[:, 1]))
        return Score(samples, perplexity, missing="" if np.nansum(pairs_N2[:, 1]) else "every reply is empty")


def sums_of_pairs(answer: Any) -> Floats:
    """Returns (N, 2): the sum over a record's replies of two numbers each; NaN where a record has no reply."""
    rows = [
        np.sum([np.asarray(pair) for pair in forms], axis=0) if len(forms) else (np.nan, np.nan) for forms in answer
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def check_n(n: int) -> None:
    """Refuses n-grams of no words.

    Raises:
        InputError: ``n`` is below 1.
    """
    if n < 1:
        raise InputError(f"n={n} is no number of words; give 1 or more.")


def _ratio(parts_N: Floats, totals_N: Floats) -> float:
    total = float(np.sum(totals_N))
    return float(np.sum(parts_N)) / total if total else float("nan")
