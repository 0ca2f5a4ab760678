"""Membership inference from one model's numbers of a record beside those of other texts, its gradient or its tokens.

Lowercase: Carlini et al., 2021, https://arxiv.org/abs/2012.07805. Neighbourhood: Mattern et al., 2023,
https://arxiv.org/abs/2305.18462. ReCaLL: Xie et al., 2024, https://arxiv.org/abs/2406.15968. DC-PDD: Zhang et al.,
2024, https://arxiv.org/abs/2409.14781. Gradient norm: Duan et al., 2024, https://arxiv.org/abs/2402.07841.

Shapes: N records, F texts made of one record, T scored tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from expunge.data.transforms import AfterOthers, Lowercase, WordDropout
from expunge.errors import InputError
from expunge.metrics.base import Answers, Floats, Need
from expunge.metrics.membership import MembershipMetric, difference
from expunge.metrics.records import NAN, all_forms, first_form, mean_logp
from expunge.registry import metrics


def ratio_score(logp: float, other: float) -> float:
    """Returns logp / other of two mean log-probabilities; NaN where the other is 0 and nothing can be compared."""
    return logp / other if other else NAN


def neighbourhood_score(logp: float, neighbours_F: Floats) -> float:
    """Returns how much likelier a text is than its neighbours on average, nats per token; NaN without any."""
    return difference(logp, float(np.mean(neighbours_F))) if len(neighbours_F) else NAN


def dc_pdd(logps_T: Floats, frequencies_T2: Floats, a: float) -> float:
    """Returns the mean of min(-p log f, a) over tokens that stand for the first time; NaN without any.

    Args:
        logps_T: log p of each scored token, nats.
        frequencies_T2: log f, nats, and whether the token stands for the first time.
        a: upper bound of what one token adds.
    """
    first = frequencies_T2[:, 1] > 0
    if not first.any():
        return NAN
    return float(np.mean(np.minimum(-np.exp(logps_T[first]) * frequencies_T2[first, 0], a)))


@metrics.register("mia_lowercase")
@dataclass(frozen=True, kw_only=True)
class MiaLowercase(MembershipMetric):
    """Members lose more than others when their capitals go: minus loss relative to the loss in lower case."""

    paper = "Carlini et al., 2021, https://arxiv.org/abs/2012.07805"

    def read(self, split: str) -> tuple[Need, ...]:
        """The record, and the same in lower case."""
        return (Need(kind="token_logps", split=split), Need(kind="token_logps", split=split, transform=Lowercase()))

    def scores(self, split: str, answers: Answers) -> Floats:
        """Minus the ratio of the two losses; -1 for a text without capitals."""
        own, lower = (first_form(answers[need]) for need in self.read(split))
        return np.array([-ratio_score(*pair) for pair in zip(own, lower, strict=True)], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class NeighbourMetric(MembershipMetric):
    """Base of attacks that compare a text with its neighbours.

    Attributes:
        neighbours: what makes them. The papers fill masks with a model; leaving out words is our substitute.
        copies: neighbours of each text.
        share: of the words of the answer that go.
        seed: of the draws.
    """

    neighbours: Literal["word_dropout"] = "word_dropout"
    copies: int = 8
    share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.neighbours != "word_dropout":
            raise InputError(f"neighbours={self.neighbours!r} is not there; use word_dropout.")
        self.read(self.split)  # the transform checks its settings

    def read(self, split: str) -> tuple[Need, ...]:
        """The record, and its neighbours."""
        change = WordDropout(copies=self.copies, share=self.share, seed=self.seed)
        return (Need(kind="token_logps", split=split), Need(kind="token_logps", split=split, transform=change))


@metrics.register("mia_neighbourhood")
@dataclass(frozen=True, kw_only=True)
class MiaNeighbourhood(NeighbourMetric):
    """Members are likelier than texts close by, which lack some of their words."""

    paper = "Mattern et al., 2023, https://arxiv.org/abs/2305.18462"

    def scores(self, split: str, answers: Answers) -> Floats:
        """Mean loss of the neighbours minus the record's."""
        own, around = self.read(split)
        pairs = zip(first_form(answers[own]), all_forms(answers[around]), strict=True)
        return np.array([neighbourhood_score(*pair) for pair in pairs], dtype=np.float64)


@metrics.register("mia_grad_norm")
@dataclass(frozen=True, kw_only=True)
class MiaGradNorm(MembershipMetric):
    """Members pull less at the weights: minus the Euclidean norm of the gradient of the mean loss."""

    kinds = ("grad_norm",)
    paper = "Duan et al., 2024, https://arxiv.org/abs/2402.07841"

    def score(self, *numbers: Floats) -> float:
        """Minus the norm."""
        return -float(numbers[0])


@metrics.register("mia_recall")
@dataclass(frozen=True, kw_only=True)
class MiaRecall(MembershipMetric):
    """ReCaLL: after records that no model has seen, members lose more of their likelihood than others.

    Records of the same subject never stand before one. Where the records before come from ``against`` itself, the
    first ``shots`` of it are left out of the comparison: others stand before them than before the rest.

    Attributes:
        prefix: split that the records before come from; no model has seen it.
        shots: how many records stand before, the first ones of the split.
    """

    prefix: str = "holdout"
    shots: int = 4

    paper = "Xie et al., 2024, https://arxiv.org/abs/2406.15968"

    def __post_init__(self) -> None:
        if self.shots < 1:
            raise InputError(f"shots={self.shots} puts nothing before a record; give at least 1.")

    def read(self, split: str) -> tuple[Need, ...]:
        """The record, and the record after others."""
        after = AfterOthers(split=self.prefix, count=self.shots)
        return (Need(kind="token_logps", split=split), Need(kind="token_logps", split=split, transform=after))

    def scores(self, split: str, answers: Answers) -> Floats:
        """Log-likelihood per token after the others, relative to that of the record alone."""
        own, after = (answers[need] for need in self.read(split))
        scores_N = np.array([_recall(*pair) for pair in zip(own, after, strict=True)], dtype=np.float64)
        if split == self.prefix:
            scores_N[: self.shots] = NAN
        return scores_N


def _recall(own: Sequence[Floats], after: Sequence[Floats]) -> float:
    """NaN where the records before leave less room for the record than it takes."""
    if not own or not after or not len(own[0]) or len(after[0]) < len(own[0]):
        return NAN
    # Alone, a text may lack a number for its first token, which nothing stands before.
    return ratio_score(mean_logp(after[0][-len(own[0]) :]), mean_logp(own[0]))


@metrics.register("mia_dc_pdd")
@dataclass(frozen=True, kw_only=True)
class MiaDcPdd(MembershipMetric):
    """Members have likely tokens where tokens are rare: cross-entropy against the token frequencies of a corpus.

    Of each token the first occurrence in the record counts, prompt included, as far as it is scored. The paper takes
    frequencies from a large general corpus; here they are those of the scored tokens of ``corpus``, with one added to
    the count of each token of the vocabulary.

    Attributes:
        corpus: split that frequencies are counted on.
        a: upper bound of what one token adds; a model that knows a record by heart is above it everywhere.
    """

    corpus: str = "retain"
    a: float = 0.01

    paper = "Zhang et al., 2024, https://arxiv.org/abs/2409.14781"

    def __post_init__(self) -> None:
        if self.a <= 0:
            raise InputError(f"a={self.a} leaves nothing of any token; give a number above 0, such as 0.01.")

    def read(self, split: str) -> tuple[Need, ...]:
        """Log-probabilities, and frequencies of the same tokens."""
        frequency = Need(kind="token_frequency", split=split, params=(("corpus", self.corpus),))
        return (Need(kind="token_logps", split=split), frequency)

    def score(self, *numbers: Floats) -> float:
        """Mean over first occurrences."""
        logps_T, frequencies_T2 = numbers
        return dc_pdd(logps_T, frequencies_T2, self.a)
