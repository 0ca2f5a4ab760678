"""U-LiRA: does a record look trained and then unlearned, or never seen? Told by shadow models of both kinds.

Hayes et al., 2024, https://arxiv.org/abs/2403.01218. Whether a record was ever in, and whether unlearning equals
retraining, are two questions to Naderloui et al. (RULI), 2025, https://arxiv.org/abs/2506.13009.

Shapes: M shadow models of one kind, N records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from expunge.errors import InputError
from expunge.functional.shadow import (
    MIN_MODELS,
    confidence_logit,
    fit_gaussians,
    log_likelihood_ratio,
    u_lira,
)
from expunge.metrics.base import Answers, Direction, Floats, Metric, Need, Sample, Score, is_of
from expunge.metrics.membership import RATES
from expunge.metrics.records import NAN, first_form
from expunge.registry import metrics

INSIDE, OUTSIDE = "shadow_unlearned", "shadow_retrained"
INSTEAD = "retrained"  # whose models stand outside where there are no shadows for it
_MOST_NATS = 700.0  # exp of more is no float


def share_inside(posterior_N: Floats) -> float:
    """Returns the share of the records judged to have been in; at one half the judgement is a coin."""
    return float(np.mean((1 + np.sign(posterior_N - 0.5)) / 2)) if len(posterior_N) else NAN


def posteriors(own_N: Floats, inside_MN: Floats, outside_MN: Floats) -> Floats:
    """Returns the probability that each record was in, both being as likely before; NaN where a score is.

    Args:
        own_N: scores of the model in question, such as ``confidence_logit``.
        inside_MN: the same of shadow models that were trained with the records and unlearned them.
        outside_MN: the same of shadow models that never saw them; their number may differ.
    """
    ratio_N = log_likelihood_ratio(own_N, fit_gaussians(inside_MN), fit_gaussians(outside_MN))
    return np.asarray(1 / (1 + np.exp(-np.clip(ratio_N, -_MOST_NATS, _MOST_NATS))))


def shadow_details(inside_MN: Floats, outside_MN: Floats) -> dict[str, float]:
    """Returns how well the attack tells shadow models that it was not fitted on, leaving out a pair at a time.

    ``pair_auc`` and ``pair_accuracy`` are means over all pairs, chance being 0.5 for both; ``pair_accuracy_10`` and
    ``pair_accuracy_90`` are percentiles over records. A true positive rate is told where the (record, shadow) pairs
    outside are at least ten over the rate and the records of one shadow one over it: the threshold is one for each
    pair left out. Empty with fewer than three pairs, since a spread takes two.
    """
    pairs = min(len(inside_MN), len(outside_MN))
    known_N = ~np.isnan(np.vstack([inside_MN, outside_MN])).any(axis=0)
    if pairs <= MIN_MODELS or not known_N.any():
        return {}
    found = u_lira(inside_MN[:pairs, known_N], outside_MN[:pairs, known_N], folds=pairs)
    low, high = np.percentile(found.accuracy_N, (10, 90))
    records = int(known_N.sum())
    rates = (rate for rate, least in RATES.items() if records * pairs >= least and records * rate >= 1)
    return {
        "pair_auc": found.auc,
        "pair_accuracy": float(np.mean(found.accuracy_N)),
        "pair_accuracy_10": float(low),
        "pair_accuracy_90": float(high),
        **{f"pair_tpr_at_{rate * 100:.0f}_percent_fpr": found.tpr_at_fpr(rate) for rate in rates},
    }


@metrics.register("ulira")
@dataclass(frozen=True, kw_only=True)
class ULira(Metric):
    """U-LiRA: the share of forget records that an attacker with shadow models takes for trained and then unlearned.

    For each record one Gaussian is fitted to log(p / (1 - p)) of the shadow models that were trained with it and
    unlearned it by the same method, and one to that of shadow models that never saw it; p is the length-normalised
    probability. The likelier of the two is the judgement. On the unlearned model that is the attack's true positive
    rate, on a retrained one its false positive rate, so that the distance between the two columns is the attacker's
    advantage: 0 where unlearning equals retraining, up to 1. The value alone tells little: where nothing shows, it is
    about one half in both columns. On the original it says whether the original looks like the shadows.

    In the paper the models outside unlearn other records by the same method: was this record ever in? Ours are
    retrained ones: does unlearning equal retraining? Then whatever training on more records and unlearning some do to
    all texts counts too. ``split="holdout"`` is the control: nobody saw these records, and what the attack tells there
    it tells from that and not from the record; only what goes beyond it speaks of the records. For the paper's question
    hand in as ``shadow_retrained`` models that unlearned other records, and then there is no control.

    All retrained models stand outside where no ``shadow_retrained`` was handed in. With fewer than 64 models of a kind
    all records share one variance (the paper trains 64 and more). The interval is over subjects and takes the shadows
    as they are. ``details`` has the mean posterior, the number of shadows, and what ``shadow_details`` tells.

    Attributes:
        split: records in question.
    """

    split: str = "forget"

    direction: ClassVar[Direction] = "closer"
    may_compare_to = (INSIDE, OUTSIDE, INSTEAD)
    unit = "share of the records, 0 to 1, judged trained and then unlearned; 0.5 where nothing shows"
    paper = "Hayes et al., 2024, https://arxiv.org/abs/2403.01218"

    def __post_init__(self) -> None:
        if self.split == "retain":
            raise InputError("Both kinds of shadow models saw the retain records; take a split that is forgotten.")

    def needs(self) -> tuple[Need, ...]:
        """Log-probabilities of the split."""
        return (Need(kind="token_logps", split=self.split),)

    def lacks(self, others: Sequence[str]) -> str | None:
        """Two models of each kind are the least, since a spread takes two."""
        inside, outside, instead = (sum(is_of(role, family) for role in others) for family in self.may_compare_to)
        if inside >= MIN_MODELS and (outside or instead) >= MIN_MODELS:
            return None
        return (
            f"{inside} shadow models that unlearned the records and {outside or instead} that never saw them were "
            f"handed in, and it takes {MIN_MODELS} of each: --shadow-unlearned, --shadow-retrained"
        )

    def compute(self, answers: Answers) -> Score:
        """The share, with the shadows' own numbers."""
        (need,) = self.needs()
        own_N = confidence_logit(first_form(answers[need]))
        inside_MN = self._shadows(answers, INSIDE)
        outside_MN = self._shadows(answers, OUTSIDE if answers.family(OUTSIDE, need) else INSTEAD)
        posterior_N = posteriors(own_N, inside_MN, outside_MN)
        known_N = posterior_N[~np.isnan(posterior_N)]
        details = {
            "posterior": float(np.mean(known_N)) if len(known_N) else NAN,
            "shadows_unlearned": float(len(inside_MN)),
            "shadows_retrained": float(len(outside_MN)),
            **shadow_details(inside_MN, outside_MN),
        }
        return Score((Sample(self.split, posterior_N),), share_inside, details)

    def _shadows(self, answers: Answers, family: str) -> Floats:
        (need,) = self.needs()
        return np.array([confidence_logit(first_form(answer)) for answer in answers.family(family, need)])
