"""What forgetting does to the records that stay: their privacy, and knowledge near to what is forgotten.

Removing records may expose others. Carlini et al., 2022, https://arxiv.org/abs/2206.10469 (the onion effect); Hayes et
al., 2024, https://arxiv.org/abs/2403.01218, who attack the retain set of unlearned models too.

Shapes: N records, T scored tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from expunge.metrics.base import Answer, Answers, Floats, Metric, Need, Sample, Score
from expunge.metrics.membership import membership_auc, rounded
from expunge.metrics.memorisation import exact_memorisation
from expunge.metrics.records import NAN, check_form, first_form, per_record
from expunge.registry import metrics

ORIGINAL = "original"
NEAR, FURTHER, FAR = "neighbours_1", "neighbours_2", "neighbours_far"
Accuracy = Literal["answers", "tokens"]


@metrics.register("retain_membership")
@dataclass(frozen=True, kw_only=True)
class RetainMembership(Metric):
    """How much more the kept records look trained on than in the original model: rise of a membership attack's area.

    The attack is the loss, and its area under the ROC curve is that of kept records against records never seen. Lower
    is better: above 0 the kept records have become easier to tell, so that forgetting some cost the others privacy. A
    method that trains on the retain set raises it; one that breaks the model lowers it, which utility shows.

    Attributes:
        split: records that stay.
        against: records of the same distribution that no model has seen.
    """

    split: str = "retain"
    against: str = "holdout"

    direction = "lower"
    compares_to = (ORIGINAL,)
    unit = "difference of two areas under the ROC curve, -1 to 1"
    paper = "Carlini et al., 2022, https://arxiv.org/abs/2206.10469"

    def needs(self) -> tuple[Need, ...]:
        """Log-probabilities of both splits."""
        return tuple(Need(kind="token_logps", split=split) for split in (self.split, self.against))

    def compute(self, answers: Answers) -> Score:
        """Own area minus the original's; both are in the details."""
        samples = (*self._samples(answers.own), *self._samples(answers.of(ORIGINAL)))
        known = [sample.values[~np.isnan(sample.values)] for sample in samples]
        details = {"auc": membership_auc(*known[:2]), "auc_original": membership_auc(*known[2:])}
        return Score(samples, auc_rise, details)

    def _samples(self, answers: Mapping[Need, Answer]) -> tuple[Sample, ...]:
        return tuple(Sample(need.split, rounded(first_form(answers[need]))) for need in self.needs())


def auc_rise(members_N: Floats, others_M: Floats, members_before_N: Floats, others_before_M: Floats) -> float:
    """Returns the area of members against others, minus the same of another model."""
    return membership_auc(members_N, others_M) - membership_auc(members_before_N, others_before_M)


@metrics.register("locality_gap")
@dataclass(frozen=True, kw_only=True)
class LocalityGap(Metric):
    """How much more of its accuracy the model loses near the forgotten records than far from them.

    Retention is accuracy divided by the original's on the same records; the gap is retention far away minus retention
    at the nearest neighbours. 0: what is lost is lost evenly. Above 0: the neighbours of what is forgotten go with it.

    Attributes:
        form: form of the records.
        accuracy: ``answers``, the share of answers whose every token is the model's first choice, or ``tokens``, the
            share of such tokens, which is finer and counts the words around the value too.
    """

    form: str = "trained"
    accuracy: Accuracy = "answers"

    direction = "lower"
    compares_to = (ORIGINAL,)
    unit = "difference of two shares of the original's accuracy; 0 where nothing is local"

    def __post_init__(self) -> None:
        check_form(self.form)

    def needs(self) -> tuple[Need, ...]:
        """Ranks of the answer tokens, by distance; the middle distance is told where it is there."""
        return tuple(
            Need(kind="ranks", split=split, form=self.form, optional=split == FURTHER) for split in (NEAR, FAR, FURTHER)
        )

    def compute(self, answers: Answers) -> Score:
        """The gap; details have retention and loss of accuracy, in parts of the original's, at each distance."""
        before = answers.of(ORIGINAL)
        pairs = {
            need.split: (self._sample(need, answers.own), self._sample(need, before))
            for need in self.needs()
            if need in answers.own and need in before
        }
        details: dict[str, float] = {}
        for split, pair in pairs.items():
            kept = retention(*(sample.values[~np.isnan(sample.values)] for sample in pair))
            details |= {f"retention_{split}": kept, f"loss_{split}": 1 - kept}
        return Score((*pairs[NEAR], *pairs[FAR]), retention_gap, details)

    def _sample(self, need: Need, answers: Mapping[Need, Answer]) -> Sample:
        return Sample(need.split, per_record(answers[need], self._right))

    def _right(self, ranks_T: Floats) -> float:
        share = exact_memorisation(ranks_T)
        return share if self.accuracy == "tokens" or np.isnan(share) else float(share == 1)


def retention(own_N: Floats, before_N: Floats) -> float:
    """Returns mean accuracy in parts of the original's; NaN where one has no records or the original is never right."""
    if not len(own_N) or not len(before_N) or not np.mean(before_N):
        return NAN
    return float(np.mean(own_N) / np.mean(before_N))


def retention_gap(near_N: Floats, near_before_N: Floats, far_M: Floats, far_before_M: Floats) -> float:
    """Returns retention far away minus retention nearby."""
    return retention(far_M, far_before_M) - retention(near_N, near_before_N)
