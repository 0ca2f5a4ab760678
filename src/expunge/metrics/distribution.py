"""Forget quality: are the truth ratios of two models distributed alike? Maini et al., 2024, https://arxiv.org/abs/2401.06121.

A large p-value does not show equality: with 40 records a shift of 0.3 standard deviations is found one time in seven.
D and n stand beside p for that reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from expunge.functional.statistics import ks_test
from expunge.metrics.base import Answers, Floats, Knows, Metric, Need, Sample, Score
from expunge.metrics.memorisation import TOFU_PAPER, Mean, ratio_needs, truth_ratio
from expunge.metrics.records import all_forms, check_form, first_form
from expunge.registry import metrics


class ForgetQualityTest(NamedTuple):
    """Two-sample Kolmogorov-Smirnov test: distance D, p-value, sizes of the samples."""

    D: float
    p: float
    n: int
    m: int


def forget_quality(ratios_N: Floats, retrained_ratios_M: Floats) -> ForgetQualityTest:
    """Tests whether two sets of truth ratios come from one distribution; R and 1/R give the same answer."""
    if not len(ratios_N) or not len(retrained_ratios_M):
        return ForgetQualityTest(float("nan"), float("nan"), len(ratios_N), len(retrained_ratios_M))
    statistic, p_value, n, m = ks_test(ratios_N, retrained_ratios_M)
    return ForgetQualityTest(float(statistic), float(p_value), int(n), int(m))


def _p_value(ratios_N: Floats, retrained_ratios_M: Floats) -> float:
    return forget_quality(ratios_N, retrained_ratios_M).p


@metrics.register("forget_quality")
@dataclass(frozen=True, kw_only=True)
class ForgetQuality(Metric):
    """p-value of the Kolmogorov-Smirnov test between the truth ratios of this model and of the retrained one.

    Attributes:
        split: split to read.
        form: the true answer that the truth ratio reads.
        mean: mean over the wrong answers.
    """

    split: str = "forget"
    form: str = "paraphrased_answer"
    mean: Mean = "geometric"

    direction = "higher"
    compares_to = ("retrained",)
    resampled = False
    unit = "p-value, 0 to 1"
    paper = TOFU_PAPER

    def __post_init__(self) -> None:
        check_form(self.form, ("trained", "paraphrased_question", "paraphrased_answer"))

    @property
    def knows(self) -> Knows:
        """A small p-value: the ratios are not those of a model that never saw the records."""
        return "low"

    def needs(self) -> tuple[Need, ...]:
        """Log-probabilities of the true and of the wrong answers."""
        return ratio_needs(self.split, self.form)

    def compute(self, answers: Answers) -> Score:
        """The p-value, with D, p, n and m in ``details``."""
        truth, wrong = self.needs()
        others = answers.of("retrained")
        own = truth_ratio(first_form(answers[truth]), all_forms(answers[wrong]), self.mean)
        retrained = truth_ratio(first_form(others[truth]), all_forms(others[wrong]), self.mean)
        samples = (Sample(self.split, own), Sample(self.split, retrained))
        test = forget_quality(own[own == own], retrained[retrained == retrained])  # NaN is not itself
        return Score(samples, _p_value, {name: float(value) for name, value in test._asdict().items()})
