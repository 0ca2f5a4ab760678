"""Questions after answered questions of another split, as plain text: the few-shot prompt of MUSE.

Shi et al., 2024, https://arxiv.org/abs/2407.06460.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from expunge.data.record import Record
from expunge.data.transforms import Transform, is_about_same
from expunge.errors import InputError


@dataclass(frozen=True, kw_only=True)
class FewShot(Transform):
    """``Question: ...`` and ``Answer: ...`` of other records, a blank line after each, and the record's question.

    No chat template is applied, since the answered questions are its place. Plain text asks nothing and has no reading.

    Attributes:
        split: where the answered questions come from.
        count: how many, the first ones that are neither the record itself, nor its question, nor of its subject, which
            may hold the answer; fewer where the split has fewer, and no reading at all where it has none.
    """

    name = "few_shot"
    split: str = "retain"
    count: int = 10

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"{self.label}: give at least one answered question.")

    @property
    def reads(self) -> str | None:
        """Split of the answered questions."""
        return self.split

    def apply(self, record: Record, others: Sequence[Record]) -> tuple[Record, ...]:
        """One record, a prompt and what completes it."""
        asked = record.question
        if asked is None:
            return ()
        known = [
            (question.reveal(), one.answer.reveal().strip())
            for one in others
            if (question := one.question) is not None
            and not is_about_same(one, record)
            and question.reveal() != asked.reveal()
        ]
        shots = "".join(f"Question: {question}\nAnswer: {answer}\n\n" for question, answer in known[: self.count])
        if not shots:
            return ()
        given = "" if record.given is None else record.given.reveal().strip()
        prompt = asked.relabel(f"{shots}Question: {asked.reveal()}\nAnswer:" + (f" {given}" if given else ""))
        answer = record.answer.relabel(f" {record.answer.reveal().strip()}")
        return (replace(record, kind="completion", prompt=prompt, answer=answer, messages=(), tools=None, given=None),)
