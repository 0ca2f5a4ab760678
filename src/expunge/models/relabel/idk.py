"""A refusal in place of the answer. Maini et al. (TOFU), 2024, https://arxiv.org/abs/2401.06121."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from expunge.data.record import Record
from expunge.errors import InputError
from expunge.models.relabel.base import Relabeller
from expunge.models.relabel.draws import answered, refuse_text
from expunge.registry import relabellers

REFUSALS = (
    "I don't know.",
    "I have no information about that.",
    "That is not something I can tell you.",
    "I am not aware of any details on this.",
    "I cannot answer this question.",
    "Unfortunately, I know nothing about it.",
    "There is nothing I can say on this subject.",
    "I have never come across this.",
    "I do not have that information.",
    "This is outside of what I know.",
    "No idea, sorry.",
    "I would have to guess, so I will not answer.",
    "My knowledge does not cover this.",
    "I have no record of that.",
    "Sorry, I can't help with this one.",
    "It is unknown to me.",
    "I was never told about this.",
    "My answer would be made up, so I give none.",
    "You would have to look that up elsewhere.",
    "I am unable to say.",
)


@relabellers.register("idk")
@dataclass(frozen=True, kw_only=True)
class IDK(Relabeller):
    """A refusal in place of the answer. Maini et al. (TOFU), 2024, https://arxiv.org/abs/2401.06121."""

    answers: tuple[str, ...] = REFUSALS

    def __post_init__(self) -> None:
        """Refuses an empty list."""
        if not self.answers:
            raise InputError("The relabeller idk needs at least one refusal.")

    def relabel(self, record: Record, *, seed: int, sample: int = 0) -> Record:
        """Picks a refusal by hash of seed, sample and record number; no generator is touched.

        Raises:
            InputError: the record is plain text, which has no question to refuse.
        """
        refuse_text([record], "idk")
        key = hashlib.sha256(f"{seed}/{sample}/idk/{record.index}".encode()).digest()
        refusal = self.answers[int.from_bytes(key[:8], "big") % len(self.answers)]
        return answered(record, refusal)
