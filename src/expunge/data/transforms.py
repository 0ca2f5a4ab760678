"""Other texts of the same records that a metric compares with, such as lower case or neighbours: made in memory only.

A form (``expunge.data.record.FORMS``) belongs to the record and asks for the same fact; a transform to a metric.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from expunge.data.record import Record
from expunge.errors import InputError
from expunge.storage.secret import Secret


@dataclass(frozen=True, kw_only=True)
class Transform(ABC):
    """Rewrites a record; fields are settings, and all of them are in ``label``.

    Class attributes:
        name: what the label begins with.
        reads: split whose records the rewriting needs beside the record itself, if any; a property where it is chosen.
        needs_form: form that a record must have as well as the one that is rewritten, if any.
    """

    name: ClassVar[str]
    needs_form: ClassVar[str | None] = None

    @property
    def reads(self) -> str | None:
        """Split whose records are needed too."""
        return None

    @property
    def label(self) -> str:
        """Name with every setting; stored numbers stand under it."""
        settings = ", ".join(f"{item.name}={getattr(self, item.name)}" for item in dataclasses.fields(self))
        return f"{self.name}({settings})"

    @abstractmethod
    def apply(self, record: Record, others: Sequence[Record]) -> tuple[Record, ...]:
        """Returns what is read in place of a record: one record or several, or none where it cannot be rewritten.

        Args:
            record: one form of a record.
            others: records of the split ``reads``.
        """


@dataclass(frozen=True, kw_only=True)
class Lowercase(Transform):
    """Prompt and answer in lower case."""

    name = "lowercase"

    def apply(self, record: Record, others: Sequence[Record]) -> tuple[Record, ...]:
        """One record."""
        return (with_texts(record, str.lower),)


@dataclass(frozen=True, kw_only=True)
class WrongAnswers(Transform):
    """The record's wrong answers in place of its answer, after the question of the form that is read."""

    name = "wrong_answers"
    needs_form = "perturbed_answer"

    def apply(self, record: Record, others: Sequence[Record]) -> tuple[Record, ...]:
        """One record for each wrong answer."""
        return record.forms("perturbed_answer")


@dataclass(frozen=True, kw_only=True)
class WordDropout(Transform):
    """Neighbours of a text: copies whose answer lacks some of its words, drawn by seed and text.

    Stands in for the neighbours that a mask-filling model makes.

    Attributes:
        copies: number of neighbours.
        share: of the words that go, at least one; a text of one word has no neighbour.
        seed: of the draws.
    """

    name = "word_dropout"
    copies: int = 8
    share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.copies < 1 or not 0 < self.share < 1:
            raise InputError(f"{self.label}: give at least one copy, and a share of words between 0 and 1.")

    def apply(self, record: Record, others: Sequence[Record]) -> tuple[Record, ...]:
        """``copies`` records."""
        text = record.answer.reveal()
        lead, words = text[: len(text) - len(text.lstrip())], text.split()
        if len(words) < 2:
            return ()
        draw = Random(f"{self.seed}:{text}")  # noqa: S311 - reproducible draws, no secrets
        gone = min(max(1, round(self.share * len(words))), len(words) - 1)
        return tuple(
            self._without(record, lead, words, draw.sample(range(len(words)), gone)) for _ in range(self.copies)
        )

    def _without(self, record: Record, lead: str, words: Sequence[str], gone: Sequence[int]) -> Record:
        kept = [word for place, word in enumerate(words) if place not in gone]
        return record.with_answer(lead + " ".join(kept))


@dataclass(frozen=True, kw_only=True)
class AfterOthers(Transform):
    """The record after records of another split, as one text before it.

    Attributes:
        split: where these records come from.
        count: how many, the first ones that are neither the record itself nor of its subject.
    """

    name = "after_others"
    split: str = "holdout"
    count: int = 4

    @property
    def reads(self) -> str | None:
        """Split of the records that stand before."""
        return self.split

    def apply(self, record: Record, others: Sequence[Record]) -> tuple[Record, ...]:
        """One record; none where there are no others."""
        before = [one for one in others if not is_about_same(one, record)][: self.count]
        if not before:
            return ()
        return (with_lead(record, "".join(f"{_whole(one)}\n\n" for one in before)),)


def is_about_same(one: Record, other: Record) -> bool:
    """Whether two records are one, or of one subject: what one says may answer the other."""
    same = (one.split, one.index) == (other.split, other.index)
    return same or (one.whom is not None and one.whom == other.whom)


def with_texts(record: Record, change: Callable[[str], str]) -> Record:
    """Returns the record with every text that a model reads changed, but for calls of tools and the tools on offer."""

    def changed(secret: Secret) -> Secret:
        return secret.relabel(change(secret.reveal()))

    return replace(
        record,
        answer=changed(record.answer),
        prompt=None if record.prompt is None else changed(record.prompt),
        given=None if record.given is None else changed(record.given),
        messages=tuple(replace(one, content=changed(one.content)) for one in record.messages),
    )


def with_lead(record: Record, lead: str) -> Record:
    """Returns the record with a text before it that is read and not scored."""
    if record.messages:
        first, *rest = record.messages
        content = first.content.relabel(lead + first.content.reveal())
        return replace(record, messages=(replace(first, content=content), *rest))
    if record.prompt is not None:
        return replace(record, prompt=record.prompt.relabel(lead + record.prompt.reveal()))
    given = "" if record.given is None else record.given.reveal()
    return replace(record, given=record.answer.relabel(lead + given))


def _whole(record: Record) -> str:
    prompt = record.prompt.reveal() if record.prompt is not None else ""
    turns = [text.reveal() for turn in record.messages for text in turn.texts]
    return " ".join(part for part in (*turns, prompt, record.answer.reveal()) if part)
