"""Which records of a data set hold something of what must be forgotten, and by which rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from expunge.data.checks import fingerprint
from expunge.data.duplicates import Hashes, Near, shingles
from expunge.data.names import Finder, is_searchable
from expunge.data.overlap import nearest, passages, quotes
from expunge.data.record import Record
from expunge.data.spans import Span, spans
from expunge.data.words import secrets_of, trained_text, wordings
from expunge.functional.words import folded
from expunge.storage.progress import SILENT, Phases

# In this order: the first rule that holds is the one that moves a record.
RULES = {
    "exact": "the record is a forget record, but for case, white space and Unicode form",
    "near": "the record is a near duplicate of a forget record, or of it in other words",
    "subject": "the record has the subject of a forget record",
    "name": "the record names someone who must be forgotten",
    "match": "the record holds a phrase that was given",
    "quote": "the record quotes a passage of a forget record's answer or text",
    "value": "the record holds an e-mail address, phone number or id of a forget record",
}


class Hit(NamedTuple):
    """Every rule that holds for a record, in the order of ``RULES``, and its similarity to a forget record.

    ``similarity`` is 1 for an exact duplicate, the Jaccard similarity for a near one, else None.
    """

    rules: tuple[str, ...]
    similarity: float | None

    def rule(self, rules: Collection[str]) -> str | None:
        """The first of the given rules that holds."""
        return next((rule for rule in self.rules if rule in rules), None)

    def also(self, rule: str) -> Hit:
        """The same with one more rule, in its place."""
        return self._replace(rules=tuple(name for name in RULES if name in (*self.rules, rule)))


class Hits(NamedTuple):
    """Hits of each record; passages of the forget records, and how many of them are common wording and find nothing."""

    records: list[Hit]
    passages: int
    common_passages: int


class Forgotten:
    """What must be forgotten: records, and names and phrases to be found in any text.

    Args:
        records: the forget records; their subjects are names too.
        names: further names.
        phrases: texts to be found as they stand.
    """

    def __init__(self, records: Sequence[Record], names: Iterable[str] = (), phrases: Sequence[str] = ()) -> None:
        self.records = records
        subjects = [record.subject.reveal() for record in records if record.subject is not None]
        self.names = [name for name in dict.fromkeys((*subjects, *names)) if is_searchable(name)]
        self._phrases = phrases
        self._finder = Finder(self.names, phrases)
        self._subjects = {folded(name) for name in (*subjects, *names)}

    def named(self, record: Record) -> list[str]:
        """The names that a record's texts or its subject hold."""
        return [self.names[place] for place in sorted(self._found(record)) if place < len(self.names)]

    def holds(self, record: Record) -> bool:
        """Whether a record has the subject, a name or a phrase; for choosing the forget records themselves."""
        return self._has_subject(record) or bool(self._found(record))

    def hits(self, records: Sequence[Record], near: Near, phases: Phases = SILENT) -> Hits:
        """Tries every rule on every record."""
        exact = {fingerprint(record) for record in self.records}
        values = values_of(self.records)
        with phases.phase("hash what is left", len(records)) as steps:
            sets = [shingles(trained_text(record)) for record in steps.over(records)]
        similar = self._similarities(sets, near)
        with phases.phase("look for what must be forgotten", len(records)) as steps:
            found = [
                self._hit(record, similarity, fingerprint(record) in exact, values)
                for record, similarity in steps.over(zip(records, similar, strict=True))
            ]
        known = passages(one.answer.reveal() for record in self.records for one in wordings(record))
        quoted = quotes(sets, known, [bool(hit.rules) for hit in found])
        return Hits(
            [hit.also("quote") if is_one else hit for hit, is_one in zip(found, quoted.found, strict=True)],
            quoted.passages,
            quoted.common,
        )

    def _hit(self, record: Record, similarity: float | None, is_exact: bool, values: Collection[str]) -> Hit:
        found = self._found(record)
        tests: dict[str, Callable[[], bool]] = {
            "exact": lambda: is_exact,
            "near": lambda: similarity is not None,
            "subject": lambda: self._has_subject(record),
            "name": lambda: any(place < len(self.names) for place in found),
            "match": lambda: any(place >= len(self.names) for place in found),
            "value": lambda: bool(values) and any(span.value in values for span in _spans(record)),
        }
        return Hit(tuple(rule for rule, test in tests.items() if test()), 1.0 if is_exact else similarity)

    def _similarities(self, sets: Sequence[Hashes], near: Near) -> list[float | None]:
        texts = dict.fromkeys(trained_text(one) for record in self.records for one in wordings(record))
        known = [shingles(text) for text in texts]
        return [match and match.similarity for match in nearest(sets, known, near.threshold)]

    def _has_subject(self, record: Record) -> bool:
        return record.subject is not None and folded(record.subject.reveal()) in self._subjects

    def _found(self, record: Record) -> frozenset[int]:
        own = () if record.subject is None else (record.subject,)
        return frozenset().union(*(self._finder.find(secret.reveal()) for secret in (*own, *secrets_of(record))))


def count_rules(hits: Iterable[Hit]) -> dict[str, int]:
    """Records for which each rule holds; a record may count for several."""
    counts = Counter(rule for hit in hits for rule in hit.rules)
    return {rule: counts[rule] for rule in RULES}


def _spans(record: Record) -> Iterator[Span]:
    for secret in secrets_of(record):
        yield from spans(secret.reveal())


def values_of(records: Iterable[Record]) -> set[str]:
    """What looks like personal data in records and their other wordings; wrong answers are not theirs."""
    return {span.value for record in records for one in wordings(record) for span in spans(trained_text(one))}
