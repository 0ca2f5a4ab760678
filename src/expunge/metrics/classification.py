"""A label task: accuracy, precision, recall, F1 and loss of the label that a model finds likeliest.

Macro averages as in Sokolova and Lapalme, 2009, https://doi.org/10.1016/j.ipm.2009.03.002. Shapes: N records, L labels
of one record, the true one first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from expunge.metrics.base import Answers, Direction, Floats, Metric, Need, Sample, Score, mean_score
from expunge.metrics.records import NAN, knowledge_aim
from expunge.registry import metrics

Measure = Literal["accuracy", "precision", "recall", "f1", "loss"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


class Predictions(NamedTuple):
    """Places of the true and of the predicted label, and the loss in nats; (N,) each, NaN without wrong labels."""

    truth: Floats
    predicted: Floats
    loss: Floats


def predict(logps: Sequence[Floats], places: Sequence[Floats]) -> Predictions:
    """Returns the likeliest label of each record, and -log of the true one's share of the probability of all labels.

    A tie is no knowledge: where the true label is not strictly the likeliest, another one is predicted.

    Args:
        logps: log-probability (nats) of each whole label of each record, (L,), the true one first.
        places: number of each label, (L,), in the same order.
    """
    rows = [_row(one_L, at_L) if len(one_L) > 1 else (NAN, NAN, NAN) for one_L, at_L in zip(logps, places, strict=True)]
    return Predictions(*np.array(rows, dtype=np.float64).reshape(-1, 3).T)


def _row(logps_L: Floats, places_L: Floats) -> tuple[float, float, float]:
    best = 1 + int(np.argmax(logps_L[1:]))
    best = 0 if logps_L[0] > logps_L[best] else best
    return float(places_L[0]), float(places_L[best]), float(np.logaddexp.reduce(logps_L) - logps_L[0])


def macro(measure: Measure, truth_N: Floats, predicted_N: Floats) -> float:
    """Returns the mean over the labels that are true or predicted somewhere; what divides by zero counts as 0.

    ``accuracy`` is the share of records with the right label, and NaN without any.
    """
    if not len(truth_N):
        return NAN
    if measure == "accuracy":
        return float(np.mean(truth_N == predicted_N))
    values = []
    for label in np.union1d(truth_N, predicted_N):
        hits = np.sum((truth_N == label) & (predicted_N == label))
        named, real = np.sum(predicted_N == label), np.sum(truth_N == label)
        base = {"precision": named, "recall": real, "f1": (named + real) / 2}[measure]
        values.append(hits / base if base else 0.0)
    return float(np.mean(values))


@metrics.register("classification")
@dataclass(frozen=True, kw_only=True)
class Classification(Metric):
    """Accuracy, macro precision, recall or F1, or loss, of the label that the model finds likeliest.

    Attributes:
        split: split to read; the answer is the label, and the wrong answers are the other labels.
        measure: which number.
    """

    split: str = "classification"
    measure: Measure = "accuracy"

    direction = "higher"
    unit = "0 to 1; loss in nats"
    paper = "Sokolova and Lapalme, 2009, https://doi.org/10.1016/j.ipm.2009.03.002"

    @property
    def aim(self) -> Direction:
        """To the retrained model's value on the forget side; else up, and down for the loss."""
        if knowledge_aim(self.split) == "closer":
            return "closer"
        return "lower" if self.measure == "loss" else "higher"

    def needs(self) -> tuple[Need, ...]:
        """Log-probabilities and places of the true label and of the others."""
        return tuple(
            Need(kind=kind, split=self.split, form=form)
            for kind in ("token_logps", "label_place")
            for form in ("trained", "perturbed_answer")
        )

    def compute(self, answers: Answers) -> Score:
        """The measure over all records."""
        own, wrong, place, others = (answers[need] for need in self.needs())
        logps = [_totals((*one, *more)) for one, more in zip(own, wrong, strict=True)]
        places = [np.array([*one, *more], dtype=np.float64) for one, more in zip(place, others, strict=True)]
        found = predict(logps, places)
        if self.measure == "loss":
            return mean_score(self.split, found.loss)
        measure = self.measure
        samples = Sample(self.split, found.truth), Sample(self.split, found.predicted)
        return Score(samples, lambda truth_N, predicted_N: macro(measure, truth_N, predicted_N))


def _totals(labels: Sequence[Floats]) -> Floats:
    """Log-probability of each whole label; empty where one was cut off to nothing."""
    if not all(len(logps_T) for logps_T in labels):
        return np.array([], dtype=np.float64)
    return np.array([np.sum(logps_T) for logps_T in labels], dtype=np.float64)
