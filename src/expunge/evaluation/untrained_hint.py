"""A sign that the original was never trained on the answers that it is to forget."""

from __future__ import annotations

import math
from typing import NamedTuple

from expunge.evaluation.result import Evaluation, ScoreRecord

ORIGINAL = "original"
FEWER = 0.5  # of the retain records' share, below which the original does not give the forget answers
BEYOND = 1.96  # standard errors of the difference of two shares


class _Given(NamedTuple):
    """How many answers of a split the original gives."""

    answers: float
    records: int

    @property
    def share(self) -> float:
        return self.answers / self.records


def untrained_hint(evaluation: Evaluation) -> str | None:
    """Returns a sentence where the original gives far fewer forget answers than retain answers; None elsewhere.

    An answer counts as given where every token of it is the model's first choice. Where tokens cannot be read, ROUGE-L
    recall of the replies says it. Records that the original does not know were not trained on as they are: wrong
    answers, another file, or another model; what it knows of their strings then passes for knowledge of the records.
    """
    forget, retain = (_score(evaluation, "exact_memorisation", split) for split in ("forget", "retain"))
    if forget is not None and retain is not None:
        given = tuple(_Given(one.details.get("complete", 0.0), one.records) for one in (forget, retain))
        said = (
            f"The original completes {given[0].answers:.0f} of {given[0].records} forget answers, and "
            f"{given[1].answers:.0f} of {given[1].records} retain answers"
        )
    else:
        forget, retain = (_score(evaluation, "rouge", split) for split in ("forget", "retain"))
        if forget is None or retain is None:
            return None
        given = tuple(_Given(one.value * one.records, one.records) for one in (forget, retain))
        said = (
            f"The original's replies have ROUGE-L {forget.value:.2f} on forget answers, and {retain.value:.2f} on "
            "retain answers"
        )
    if not _fewer(*given):
        return None
    return (
        f"{said}: are these the records that it was trained on? A verdict on answers that it never gave shows nothing "
        "about forgetting."
    )


def _fewer(forget: _Given, retain: _Given) -> bool:
    """Whether the first share is below half of the second, beyond chance."""
    both = (forget.answers + retain.answers) / (forget.records + retain.records)
    error = math.sqrt(both * (1 - both) * (1 / forget.records + 1 / retain.records))
    return forget.share < FEWER * retain.share and retain.share - forget.share > BEYOND * error


def _score(evaluation: Evaluation, name: str, split: str) -> ScoreRecord | None:
    """The original's score on the records of a split as they were trained on."""
    for label, traits in evaluation.traits.items():
        if traits.name == name and traits.splits[0] == split and set(traits.forms) == {"trained"}:
            score = evaluation.get(label, ORIGINAL)
            if score is not None and score.records and not math.isnan(score.value):
                return score
    return None
