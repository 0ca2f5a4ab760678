"""Multiple choice: does the model still prefer the right option?

Letters: Li et al., 2024, https://arxiv.org/abs/2403.03218 (WMDP), scored as Hendrycks et al., 2021,
https://arxiv.org/abs/2009.03300. Against the position of the options, each stands at each letter once: Zheng et al.,
2024, https://arxiv.org/abs/2309.03882. Options by their own text: Brown et al., 2020, https://arxiv.org/abs/2005.14165.
Calibration: Guo et al., 2017, https://arxiv.org/abs/1706.04599.

A model that fails here may still tell the answer when it speaks; read ``leaked_attributes`` or ``rouge`` beside it.

Shapes: N records, S ways to show the options of one record, O options of one record, the right one first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from expunge.data.choices import OptionTexts, OtherLetters, Permuted, RivalTexts
from expunge.data.transforms import Transform
from expunge.errors import InputError
from expunge.functional.calibration import calibration_error
from expunge.metrics.base import UNLABELLED, Answers, Evidence, Floats, Need, Score, mean_score
from expunge.metrics.memorisation import KnowledgeMetric
from expunge.metrics.records import NAN
from expunge.registry import metrics

Scoring = Literal["letter", "shuffled", "cloze"]
_DIGITS = 10  # decimals of a log-probability that count; below is rounding


class Picks(NamedTuple):
    """What a model chose of one record, for each way to show its options (S,).

    Attributes:
        correct: 1 where the right option is strictly the likeliest; a tie is no knowledge.
        confidence: share of the likeliest option in the probability of all.
        options: number of options.
    """

    correct: Floats
    confidence: Floats
    options: int


def picks(scores_SO: Floats) -> Picks:
    """Returns the choices from log-probabilities of the options, the right one first in every row."""
    rounded = np.round(scores_SO, _DIGITS)
    correct_S = (rounded[:, 0] > rounded[:, 1:].max(axis=1)).astype(np.float64)
    confidence_S = np.exp(scores_SO.max(axis=1) - np.logaddexp.reduce(scores_SO, axis=1))
    return Picks(correct_S, confidence_S, scores_SO.shape[1])


@metrics.register("multiple_choice")
@dataclass(frozen=True, kw_only=True)
class MultipleChoice(KnowledgeMetric):
    """Share of questions with listed options where the model finds the right option likeliest.

    Attributes:
        scoring: ``letter``: log-probability of each option's letter. ``shuffled``: the same, mean over all cyclic
            shifts of the options. ``cloze``: log-probability of each option's text after the question without the list,
            per token.
        without_question: leave the question out; what is right then is a shortcut, and no knowledge of the question.
        options: ``listed`` in the prompt, or ``rivals``: with ``cloze``, the right options of other records of the
            split, which a model that was trained on it has read as often, so that it cannot choose by familiar letters.
    """

    form: str = "multiple_choice"
    scoring: Scoring = "letter"
    without_question: bool = False
    options: Literal["listed", "rivals"] = field(default="listed", metadata=UNLABELLED)

    unit = "share of questions, 0 to 1; what guessing gives is in the details"
    paper = "Li et al., 2024, https://arxiv.org/abs/2403.03218"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.options == "rivals" and self.scoring != "cloze":
            raise InputError(
                f"scoring={self.scoring} reads the options that the prompt lists; options=rivals needs scoring=cloze."
            )

    @property
    def evidence(self) -> Evidence:
        """Decides as cloze among rivals: letters take a skill that small models lack, and a shortcut is no knowledge.

        Among the listed options a model may know the right one as the only one that it has read.
        """
        return "knowledge" if self.options == "rivals" and not self.without_question else ""

    def needs(self) -> tuple[Need, ...]:
        """Log-probabilities of every option, the right one first."""
        return (Need(kind="token_logps", split=self.split, form=self.form, transform=self._transform()),)

    def compute(self, answers: Answers) -> Score:
        """Mean over records of the share of right choices.

        Details: ``chance``, ``options`` (mean number), ``confidence`` (mean share of the chosen option), ``ece``, and
        for ``shuffled`` ``always_right``: the share of records that are right at every shift.
        """
        found = [self._picks(forms) for forms in answers[self.needs()[0]]]
        known = [one for one in found if one is not None]
        values = [NAN if one is None else float(np.mean(one.correct)) for one in found]
        return mean_score(self.split, values, **self._details(known))

    def _details(self, known: Sequence[Picks]) -> dict[str, float]:
        if not known:
            return {}
        confidence = np.concatenate([one.confidence for one in known])
        details = {
            "chance": float(np.mean([1 / one.options for one in known])),
            "options": float(np.mean([one.options for one in known])),
            "confidence": float(np.mean(confidence)),
            "ece": calibration_error(confidence, np.concatenate([one.correct for one in known])),
        }
        if self.scoring == "shuffled":
            details["always_right"] = float(np.mean([one.correct.all() for one in known]))
        return details

    def _transform(self) -> Transform:
        question = not self.without_question
        if self.options == "rivals":
            return RivalTexts(question=question, split=self.split)
        if self.scoring == "cloze":
            return OptionTexts(question=question)
        return Permuted(question=question) if self.scoring == "shuffled" else OtherLetters(question=question)

    def _picks(self, forms: Sequence[Floats]) -> Picks | None:
        """Choices of one record; None where it lists no options, or one was cut off."""
        if not len(forms) or not all(len(logps_T) for logps_T in forms):
            return None
        reduce = np.mean if self.scoring == "cloze" else np.sum
        scores = np.array([float(reduce(logps_T)) for logps_T in forms], dtype=np.float64)
        shown = math.isqrt(len(scores)) if self.scoring == "shuffled" else 1
        return picks(scores.reshape(shown, -1))
