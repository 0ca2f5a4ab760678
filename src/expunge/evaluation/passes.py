"""Which records a pass reads, and whose they are: forms of the records of a split, transformed where a need says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from expunge.data.batch import Example
from expunge.data.record import Record
from expunge.data.tokenize import encode
from expunge.data.transforms import Transform
from expunge.metrics.base import Answer, Need


class Pass(NamedTuple):
    """What is read together: every need of one split, form and transform is answered from it."""

    split: str
    form: str
    transform: Transform | None = None

    @classmethod
    def of(cls, need: Need) -> Pass:
        """Returns the pass that answers a need."""
        return cls(need.split, need.form, need.transform)

    @property
    def name(self) -> str:
        """What is read: split, form and transform."""
        return ", ".join(filter(None, (self.split, self.form, self.transform.label if self.transform else "")))

    @property
    def words(self) -> str:
        """The name as a person reads it."""
        return self.name.replace("_", " ")


class Placed(NamedTuple):
    """A record to read, and the number of the record of the split that it stands for."""

    owner: int
    record: Record


def placed(splits: Mapping[str, Sequence[Record]], one: Pass) -> list[Placed]:
    """Returns what a pass reads, in the order of the split."""
    change = one.transform
    forms = [Placed(owner, form) for owner, record in enumerate(splits[one.split]) for form in record.forms(one.form)]
    if change is None:
        return forms
    others = splits.get(change.reads, ()) if change.reads else ()
    return [Placed(owner, changed) for owner, form in forms for changed in change.apply(form, others)]


class Encoded(NamedTuple):
    """Tokenised records of a pass, and their owners."""

    owners: list[int]
    examples: list[Example]
    records: int

    def by_record(self, arrays: Sequence[Any]) -> Answer:
        """Returns what was read as an answer: a list for each record of the split."""
        grouped: list[list[Any]] = [[] for _ in range(self.records)]
        for owner, array in zip(self.owners, arrays, strict=True):
            grouped[owner].append(array)
        return grouped


def encoded(splits: Mapping[str, Sequence[Record]], one: Pass, tokenizer: Any, max_length: int) -> Encoded:
    """Tokenises what a pass reads."""
    found = placed(splits, one)
    examples = [encode(record, tokenizer, row=row, max_length=max_length) for row, (_, record) in enumerate(found)]
    return Encoded([owner for owner, _ in found], examples, len(splits[one.split]))
