"""Model utility: one number for what should have stayed. Maini et al., 2024, https://arxiv.org/abs/2401.06121 (TOFU).

The harmonic mean of nine means: probability, ROUGE-L recall and truth ratio, on retain, real authors and world facts.
One zero makes it zero, and the smallest of the nine dominates it; the nine are therefore in its details.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from expunge.functional.statistics import harmonic_mean
from expunge.metrics.base import Answers, Floats, Metric, Need, Sample, Score
from expunge.metrics.memorisation import (
    TOFU_PAPER,
    Mean,
    normalised_probability,
    ratio_needs,
    rouge_need,
    truth_ratio,
    truth_scores,
)
from expunge.metrics.records import all_forms, first_form, per_record
from expunge.registry import metrics

SPLITS = ("retain", "real_authors", "world_facts")
PARTS = ("probability", "rouge", "truth_ratio")


class SplitUtility(NamedTuple):
    """The three numbers per record of one split, (N,) each."""

    probability: Floats
    rouge: Floats
    truth: Floats


def split_utility(
    answer_logps_N: Floats,
    truth_logps_N: Floats,
    wrong_logps_N: Sequence[Floats],
    rouge_N: Floats,
    *,
    normalised: bool,
    mean: Mean = "geometric",
) -> SplitUtility:
    """Returns TOFU's three numbers per record from mean log-probabilities (nats per token) and ROUGE-L recalls.

    Args:
        answer_logps_N: of the true answer.
        truth_logps_N: of the true answer as the truth ratio reads it: its paraphrase, or the answer itself.
        wrong_logps_N: of each record's wrong answers.
        rouge_N: ROUGE-L recall of the greedy continuation.
        normalised: whether the probability is divided by that of all options (real authors and world facts).
        mean: mean over the wrong answers in the truth ratio.
    """
    probability_N = normalised_probability(answer_logps_N, wrong_logps_N) if normalised else np.exp(answer_logps_N)
    ratios_N = truth_ratio(truth_logps_N, wrong_logps_N, mean)
    return SplitUtility(probability_N, rouge_N, truth_scores(ratios_N, "truth_better"))


def model_utility(*values_N: Floats) -> float:
    """Returns the harmonic mean of the means of per-record numbers; 0 if one mean is 0, NaN if one is empty."""
    means = [float(np.mean(values)) if len(values) else float("nan") for values in values_N]
    return float("nan") if any(math.isnan(mean) for mean in means) else harmonic_mean(means)


@metrics.register("model_utility")
@dataclass(frozen=True, kw_only=True)
class ModelUtility(Metric):
    """TOFU's model utility.

    Attributes:
        mean: mean over the wrong answers in the truth ratio.
        max_new_tokens: length at which continuations are cut.
    """

    mean: Mean = "geometric"
    max_new_tokens: int = 200

    direction = "higher"
    unit = "harmonic mean of nine means, 0 to 1"
    paper = TOFU_PAPER

    def needs(self) -> tuple[Need, ...]:
        """Log-probabilities of answers, paraphrases and wrong answers, and ROUGE-L, on three splits."""
        return tuple(dict.fromkeys(need for split in SPLITS for need in self._needs_of(split)))

    def compute(self, answers: Answers) -> Score:
        """The harmonic mean, with its nine parts in ``details``."""
        samples: list[Sample] = []
        details: dict[str, float] = {}
        for split in SPLITS:
            for part, values in zip(PARTS, self._read(split, answers), strict=True):
                samples.append(Sample(split, values))
                details[f"{split}_{part}"] = float(np.nanmean(values)) if np.any(~np.isnan(values)) else float("nan")
        return Score(tuple(samples), model_utility, details)

    def _needs_of(self, split: str) -> tuple[Need, Need, Need, Need]:
        own = Need(kind="token_logps", split=split)
        truth, wrong = ratio_needs(split, "paraphrased_answer" if split == "retain" else "trained")
        return own, truth, wrong, rouge_need(split, "trained", self.max_new_tokens, "tofu")

    def _read(self, split: str, answers: Answers) -> SplitUtility:
        own, truth, wrong, rouge = self._needs_of(split)
        return split_utility(
            first_form(answers[own]),
            first_form(answers[truth]),
            all_forms(answers[wrong]),
            per_record(answers[rouge], float),
            normalised=split != "retain",
            mean=self.mean,
        )
