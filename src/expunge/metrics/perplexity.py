"""Perplexity of answers. Jelinek et al., 1977, https://doi.org/10.1121/1.2016299."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expunge.metrics.base import Answers, Direction, Floats, Knows, Metric, Need, Sample, Score
from expunge.metrics.records import NAN, check_form, knowledge_aim
from expunge.registry import metrics


def perplexity(nats_N: Floats, tokens_N: Floats) -> float:
    """Returns exp(sum of negative log-likelihoods / sum of tokens) over a corpus; NaN without tokens."""
    total = float(np.sum(tokens_N))
    with np.errstate(over="ignore"):
        return float(np.exp(np.sum(nats_N) / total)) if total else NAN


@metrics.register("perplexity")
@dataclass(frozen=True, kw_only=True)
class Perplexity(Metric):
    """Perplexity of the answers of a split, one number for all its tokens.

    Attributes:
        split: split to read.
        form: form of its records.
    """

    split: str = "retain"
    form: str = "trained"

    direction = "lower"
    unit = "perplexity, from 1"
    paper = "Jelinek et al., 1977, https://doi.org/10.1121/1.2016299"

    def __post_init__(self) -> None:
        check_form(self.form)

    @property
    def aim(self) -> Direction:
        """To the retrained model's value on the forget side, down elsewhere."""
        return "closer" if knowledge_aim(self.split) == "closer" else "lower"

    @property
    def knows(self) -> Knows:
        """What is known is likely."""
        return "low"

    def needs(self) -> tuple[Need, ...]:
        """Log-probabilities of the answer tokens."""
        return (Need(kind="token_logps", split=self.split, form=self.form),)

    def compute(self, answers: Answers) -> Score:
        """``perplexity`` over all forms of all records."""
        answer = answers[self.needs()[0]]
        tokens = np.array([sum(len(logps_T) for logps_T in forms) or NAN for forms in answer], dtype=np.float64)
        nats = np.array([-sum(float(np.sum(logps_T)) for logps_T in forms) for forms in answer], dtype=np.float64)
        nats[np.isnan(tokens)] = NAN
        return Score((Sample(self.split, nats), Sample(self.split, tokens)), perplexity)
