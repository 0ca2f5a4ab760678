"""Decoy ranks as sentences: the approximate reference where no retrained model was handed in."""

from __future__ import annotations

import math
from typing import NamedTuple

from expunge.data.forms.decoy import TESTS
from expunge.evaluation.result import Evaluation, ScoreRecord


class Ranks(NamedTuple):
    """Decoy ranks of one kind, of the original and the judged model."""

    original: ScoreRecord
    own: ScoreRecord

    def sentence(self) -> str:
        """What they show, or do not."""
        count, records = self.own.details["significant"], self.own.details["records"]
        return (
            f"Approximate reference: {count:.0f} of {records:.0f} values stand out among their decoys "
            f"({self.own.label} is {self.own.value:.3f}, {self.original.value:.3f} for the original, "
            f"0.5 where nothing shows; p {self.own.details['holm_p']:.2g} after Holm)."
        )


def decoy_ranks(evaluation: Evaluation, role: str) -> list[Ranks]:
    """Returns the ranks that are a test of the forget set, of each kind of decoy."""
    found = []
    for label, traits in evaluation.traits.items():
        original, own = evaluation.get(label, "original"), evaluation.get(label, role)
        if traits.name != "decoy_rank" or traits.splits[0] != "forget" or traits.forms[0] not in TESTS:
            continue
        if original is not None and own is not None and not math.isnan(own.value):
            found.append(Ranks(original, own))
    return found
