"""Membership inference by difficulty: what the model gives a record beside what another model gives it.

Reference: Carlini et al., 2021, https://arxiv.org/abs/2012.07805; Watson et al., 2022,
https://arxiv.org/abs/2111.08440. Update: Chen et al., 2021, https://arxiv.org/abs/2005.02205. SPV-MIA: Fu et al., 2024,
https://arxiv.org/abs/2311.06062.

Shapes: N records, F neighbours of one record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from expunge.errors import InputError
from expunge.metrics.base import Answer, Answers, Floats, Knows
from expunge.metrics.membership import MembershipMetric, difference
from expunge.metrics.membership_texts import NeighbourMetric
from expunge.metrics.records import NAN, all_forms, first_form
from expunge.registry import metrics

REFERENCE = "reference"  # role of models that never saw the records and are read for comparison only


def differences(values_N: Floats, others_N: Floats) -> Floats:
    """Returns ``difference`` of each pair."""
    return np.array([difference(*pair) for pair in zip(values_N, others_N, strict=True)], dtype=np.float64)


def variation(logp: float, neighbours_F: Floats) -> float:
    """Returns the mean probability of the neighbours minus the text's own, negative at a local maximum.

    Args:
        logp: mean log-probability of the text, nats per token; its exponential is the probability.
        neighbours_F: the same of each neighbour.
    """
    return difference(float(np.mean(np.exp(neighbours_F))), float(np.exp(logp))) if len(neighbours_F) else NAN


@metrics.register("mia_reference")
@dataclass(frozen=True, kw_only=True)
class MiaReference(MembershipMetric):
    """Loss of models that never saw the records minus the model's own: what is hard for all says nothing.

    With several reference models, the mean of their losses; ``details`` says how many.
    """

    kinds = ("token_logps",)
    compares_to = (REFERENCE,)
    paper = "Carlini et al., 2021, https://arxiv.org/abs/2012.07805"

    def scores(self, split: str, answers: Answers) -> Floats:
        """Mean log-probability minus the reference's."""
        (need,) = self.read(split)
        reference = np.mean([first_form(answer) for answer in answers.family(REFERENCE, need)], axis=0)
        return differences(first_form(answers[need]), reference)

    def further(self, answers: Answers) -> Mapping[str, float]:
        """How many reference models there are."""
        return {"models": float(len(answers.family(REFERENCE, self.needs()[0])))}


@metrics.register("mia_update")
@dataclass(frozen=True, kw_only=True)
class MiaUpdate(MembershipMetric):
    """The attacker who holds the model before and after: forgotten are the records whose loss rose most.

    The score is the loss minus the original's. Retraining shows the same to some degree, and what counts is the
    distance from it.
    """

    kinds = ("token_logps",)
    compares_to = ("original",)
    paper = "Chen et al., 2021, https://arxiv.org/abs/2005.02205"

    @property
    def knows(self) -> Knows:
        """The score tells what changed, and not what is known."""
        return ""

    def scores(self, split: str, answers: Answers) -> Floats:
        """Loss minus the original's."""
        (need,) = self.read(split)
        return differences(first_form(answers.of("original")[need]), first_form(answers[need]))


@metrics.register("mia_spv")
@dataclass(frozen=True, kw_only=True)
class MiaSpv(NeighbourMetric):
    """SPV-MIA: members are local maxima of the model's probability, more so than of a reference model's.

    Attributes:
        calibration: what difficulty is taken from. The paper trains a reference model on what the target says; ours is
            the one that is handed in (the mean of several).
    """

    calibration: Literal["reference_model"] = "reference_model"

    compares_to = (REFERENCE,)
    paper = "Fu et al., 2024, https://arxiv.org/abs/2311.06062"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibration != "reference_model":
            raise InputError(f"calibration={self.calibration!r} is not there; use reference_model.")

    def scores(self, split: str, answers: Answers) -> Floats:
        """Minus the probabilistic variation, plus the reference's."""
        own, around = self.read(split)
        pairs = zip(answers.family(REFERENCE, own), answers.family(REFERENCE, around), strict=True)
        reference = np.mean([_variations(*pair) for pair in pairs], axis=0)
        return differences(reference, _variations(answers[own], answers[around]))

    def further(self, answers: Answers) -> Mapping[str, float]:
        """How many reference models there are."""
        return {"models": float(len(answers.family(REFERENCE, self.needs()[0])))}


def _variations(own: Answer, around: Answer) -> Floats:
    pairs = zip(first_form(own), all_forms(around), strict=True)
    return np.array([variation(*pair) for pair in pairs], dtype=np.float64)
