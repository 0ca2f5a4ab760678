"""What a written text tells about records, and what the attacks that make models write have in common."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from expunge.attacks.base import AttackTask
from expunge.attacks.telling import names
from expunge.data.forms import with_forms
from expunge.data.forms.value import common_words, value_of
from expunge.data.record import Record
from expunge.data.tokenize import answer_text
from expunge.errors import InputError
from expunge.functional.answers import contains
from expunge.functional.words import letters

# A step of generation reads one position of each sequence, where a pass over records reads all: more of them fit.
WIDER = 4
ALONE = 6  # letters and digits; a shorter value turns up in any text, and tells something beside a name only


@dataclass(frozen=True, kw_only=True, repr=False)
class Passage:
    """A text, and its letters and digits alone; shown nowhere."""

    text: str
    plain: str

    @classmethod
    def of(cls, text: str) -> Passage:
        """Returns a text with its letters, since many are looked for in many."""
        return cls(text=text, plain=letters(text))

    def holds(self, other: Passage) -> bool:
        """Whether another stands in this one as whole words (``expunge.functional.answers.contains``)."""
        return other.plain in self.plain and contains(self.text, other.text)  # the first is cheap, and needed anyway

    def tells(self, fact: Fact) -> bool:
        """Whether this tells a fact: its value with the subject's name, or a long value where there is none."""
        if fact.subject is not None:
            return self.holds(fact.subject) and any(map(self.holds, fact.values))
        return any(self.holds(value) for value in fact.values if value.is_long)

    @property
    def is_long(self) -> bool:
        """Whether it tells something where it stands alone."""
        return len(self.plain) >= ALONE


@dataclass(frozen=True, kw_only=True, repr=False)
class Fact:
    """What a record tells, in clear; shown nowhere.

    Attributes:
        values: spellings of the value; none where nothing stands out.
        subject: whom it is about; None where that is not known.
    """

    values: tuple[Passage, ...]
    subject: Passage | None = None

    @property
    def is_told_by_itself(self) -> bool:
        """Whether a text that holds it tells about this record and no other: by a name, or by a long value."""
        return bool(self.values) and (self.subject is not None or any(value.is_long for value in self.values))


def facts_of(records: Sequence[Record]) -> list[Fact]:
    """Returns what each record tells: what its clozes leave out, else the value that a rule finds in its answer.

    Without either it is the whole answer to a question; plain text has none. A subject that no record says is no name.
    """
    common = common_words(records)
    return [
        Fact(
            values=tuple(map(Passage.of, _values(record, common))),
            subject=Passage.of(record.subject.reveal()) if record.subject is not None and name else None,
        )
        for record, name in zip(records, names(records), strict=True)
    ]


def spread(count: int, wanted: int) -> list[int]:
    """Returns the numbers of ``wanted`` of ``count`` things at even distances; of all where 0 or too many are wanted.

    Records of one subject lie together, so the first ones would be about a few subjects.
    """
    if wanted < 0:
        raise InputError(f"records={wanted} cannot be probed; give a number, or 0 for all of them.")
    if wanted == 0 or wanted >= count:
        return list(range(count))
    return [place * count // wanted for place in range(wanted)]


def seed_of(task: AttackTask, name: str) -> int:
    """Returns a seed for the draws of one attack."""
    return random.Random(f"{task.seed}:{name}").getrandbits(32)  # noqa: S311 - reproducible draws, no secrets


def asked_otherwise(records: Sequence[Record]) -> list[Record]:
    """Returns the records with the forms by rule that ask for the same value, where they have no such form."""
    return with_forms(records, ("cloze", "truncation", "casing"))


def _values(record: Record, common: frozenset[str]) -> tuple[str, ...]:
    known = tuple(dict.fromkeys(map(answer_text, record.forms("cloze"))))
    if known:
        return known
    value = value_of(record, common)
    if value is not None:
        return (value,)
    return () if record.kind == "text" else (answer_text(record),)
