"""What a search over prompts learns from and what it is tested on: never one subject on both sides.

A prompt with enough freedom makes a model say anything, so what it says of its own training records proves nothing
(Chen et al., 2025, https://arxiv.org/abs/2502.15836).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from expunge.attacks.base import AttackTask, ProbeAttack
from expunge.data.record import Record
from expunge.errors import MissingNeedError
from expunge.functional.words import folded

Target = Literal["answers", "affirmative"]
AGREEMENT = "Certainly. This is what I know: "


def subject_groups(records: Sequence[Record], seed: int) -> list[list[int]]:
    """Returns the rows of each subject, subjects in an order drawn by the seed; a record without one is its own."""
    groups: dict[str | int, list[int]] = {}
    for row, record in enumerate(records):
        groups.setdefault(_subject(record) or row, []).append(row)
    drawn = list(groups.values())
    Random(f"{seed}:subjects").shuffle(drawn)  # noqa: S311 - reproducible draws, no secrets
    return drawn


def _subject(record: Record) -> str | None:
    return None if record.subject is None else folded(record.subject.reveal()) or None


@dataclass(frozen=True, kw_only=True)
class SearchedPrompt(ProbeAttack):
    """Base of the searches: found on some subjects, read on the others."""

    def check(self, task: AttackTask) -> None:
        """Refuses records that leave no one to read on.

        Raises:
            MissingNeedError: no forget records, or all of one subject.
        """
        super().check(task)
        if len(subject_groups(task.forget, 0)) < 2:
            raise MissingNeedError(
                "The attack searches on some subjects of the forget set and is tested on others, and all records are "
                "of one; give the records subjects, or hand in more of them."
            )


def aimed(record: Record, target: Target) -> Record:
    """Returns the record as the search is trained on it: with its true answer, or with an agreement to tell it."""
    if target == "answers":
        return record
    return dataclasses.replace(record.with_answer(AGREEMENT.rstrip()), goes_on=True)


def probed(record: Record, target: Target) -> Record:
    """Returns the record as it is read: the true answer, behind the agreement where that was the target."""
    if target == "answers":
        return record
    given = "" if record.given is None else record.given.reveal()
    return dataclasses.replace(record, given=record.answer.relabel(given + AGREEMENT))


def never_seen(records: Sequence[Record], rows: Sequence[int], seed: int) -> list[Record | None]:
    """Returns the records of ``rows`` with an answer that no model saw behind this question; None where there is none.

    It is a wrong answer that the record brings, or the answer of another subject.
    """
    draw = Random(f"{seed}:never seen")  # noqa: S311 - reproducible draws, no secrets
    return [_with_wrong_answer(records[row], records, draw) for row in rows]


def _with_wrong_answer(record: Record, others: Sequence[Record], draw: Random) -> Record | None:
    own = _subject(record)
    foreign = [one.answer for one in others if own is None or _subject(one) != own]  # its own answer is no wrong one
    truth = record.answer.reveal()
    wrong = [answer.reveal() for answer in record.perturbed_answers or foreign if answer.reveal() != truth]
    return record.with_answer(draw.choice(wrong)) if wrong else None
