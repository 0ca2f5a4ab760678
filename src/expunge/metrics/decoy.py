"""Decoy rank: where does the true value stand among values that no model has seen?

Exposure, of which this is the rank: Carlini et al., 2019, https://arxiv.org/abs/1802.08232. It needs no retrained model
and works for a single record.

Shapes: N records, F decoys of one record.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expunge.data.forms.decoy import DECOY_FORMS
from expunge.errors import InputError
from expunge.functional.testing import holm
from expunge.metrics.base import Answers, Floats, Knows, Metric, Need, Score, mean_score
from expunge.metrics.records import NAN, all_forms, check_form, first_form
from expunge.registry import metrics

LEVEL = 0.05  # of the tests of single records, after Holm
_DIGITS = 10  # decimals of a log-probability that count; below is rounding


def rank_p_value(truth: float, decoys_F: Floats) -> float:
    """Returns (1 + number of decoys at least as probable) / (F + 1), the exact one-sided p-value of a Monte Carlo test.

    Where the value is a draw like its decoys, p is uniform on 1/(F + 1), ..., 1; ties only make it larger. NaN without
    a value or decoys.

    Args:
        truth: mean log-probability of the value, nats per token.
        decoys_F: the same of its decoys.
    """
    if np.isnan(truth) or not len(decoys_F):
        return NAN
    above = np.sum(np.round(decoys_F, _DIGITS) >= np.round(truth, _DIGITS))
    return float(1 + above) / (len(decoys_F) + 1)


@metrics.register("decoy_rank")
@dataclass(frozen=True, kw_only=True)
class DecoyRank(Metric):
    """Rank of the true value among decoys of its format, by mean log-probability per token of the value.

    Attributes:
        split: split to read.
        form: kind of decoys: ``decoy`` (digits and codes), ``decoy_value`` (words from other records' values) or
            ``decoy_word`` (made-up words, which a fluent model never prefers: no test by itself).
        records: how many records count, the first ones that have decoys.
    """

    split: str = "forget"
    form: str = "decoy"
    records: int = 16

    direction = "closer"
    unit = "mean over records of rank / (decoys + 1), 0.5 where nothing shows, near 0 where the value is known"
    paper = "Carlini et al., 2019, https://arxiv.org/abs/1802.08232"

    def __post_init__(self) -> None:
        check_form(self.form, DECOY_FORMS)
        if self.records < 1:
            raise InputError(f"records={self.records} leaves nothing to rank; give at least 1.")

    @property
    def knows(self) -> Knows:
        """The true value comes first."""
        return "low"

    def needs(self) -> tuple[Need, ...]:
        """Log-probabilities of the value and of its decoys, each after the same words."""
        return tuple(Need(kind="token_logps", split=self.split, form=form) for form in (self.form, "value"))

    def compute(self, answers: Answers) -> Score:
        """Mean p-value; ``details`` has the smallest one after Holm, and how many stay below 0.05."""
        decoys, value = self.needs()
        pairs = zip(first_form(answers[value]), all_forms(answers[decoys]), strict=True)
        p_N = np.array([rank_p_value(truth, decoys_F) for truth, decoys_F in pairs], dtype=np.float64)
        p_N[np.flatnonzero(~np.isnan(p_N))[self.records :]] = NAN
        used = ~np.isnan(p_N)
        adjusted = holm(p_N[used])
        counts = [len(forms) for forms, counted in zip(answers[decoys], used, strict=True) if counted]
        details = {
            "holm_p": float(np.min(adjusted, initial=1.0)),
            "significant": float(np.sum(adjusted < LEVEL)),
            "records": float(np.sum(used)),
            "decoys": float(min(counts, default=0)),
        }
        return mean_score(self.split, p_N, **details)
