"""Numbers that describe records: counts, lengths, scripts, and how many spans look like personal data. Never text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from expunge.data.record import Record
from expunge.data.spans import KINDS, spans
from expunge.data.words import script_letters, secrets_of, shares, trained_text
from expunge.functional.words import folded
from expunge.storage.progress import UNCOUNTED, Steps

Length = Callable[[Record], int]


class Lengths(NamedTuple):
    """Smallest, median, 95th percentile (the smallest length that 95 % do not exceed) and largest length."""

    min: int
    median: float
    p95: int
    max: int


class Description(NamedTuple):
    """What is known about a set of records.

    Attributes:
        records: number of records.
        subjects: number of different subjects, but for case, white space and Unicode form.
        without_subject: records that name no subject.
        shapes: records by shape.
        characters: lengths of prompt and answer together; None without records.
        tokens: lengths in tokens; None without records or tokenizer.
        scripts: shares of letters by Unicode script.
        personal: spans that look like personal data, by kind: a heuristic.
    """

    records: int
    subjects: int
    without_subject: int
    shapes: dict[str, int]
    characters: Lengths | None
    tokens: Lengths | None
    scripts: dict[str, float]
    personal: dict[str, int]

    def plain(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        sizes = {"characters": self.characters, "tokens": self.tokens}
        return {**self._asdict(), **{name: size and size._asdict() for name, size in sizes.items()}}


def describe(records: Sequence[Record], tokens: Length | None = None, steps: Steps = UNCOUNTED) -> Description:
    """Describes records.

    Args:
        records: any number.
        tokens: length of a record in tokens.
        steps: counts records.
    """
    subjects = {folded(record.subject.reveal()) for record in records if record.subject is not None}
    texts = [trained_text(record) for record in records]
    return Description(
        records=len(records),
        subjects=len(subjects),
        without_subject=sum(record.subject is None for record in records),
        shapes=dict(sorted(Counter(record.kind for record in records).items())),
        characters=lengths([len(text) for text in texts]),
        tokens=lengths([tokens(record) for record in steps.over(records)]) if tokens else None,
        scripts=shares(script_letters(texts)),
        personal=personal(records),
    )


def lengths(sizes: Sequence[int]) -> Lengths | None:
    """Sums up lengths; the percentile is one of them (nearest rank), the median of an even number is between two."""
    if not sizes:
        return None
    ordered = sorted(sizes)
    half = len(ordered) // 2
    median = (ordered[half] + ordered[-half - 1]) / 2
    return Lengths(ordered[0], median, ordered[math.ceil(0.95 * len(ordered)) - 1], ordered[-1])


def personal(records: Sequence[Record]) -> dict[str, int]:
    """Numbers of spans that look like personal data, in all texts of the records."""
    found = (span.kind for record in records for secret in secrets_of(record) for span in spans(secret.reveal()))
    counts = Counter(found)
    return {kind: counts[kind] for kind in KINDS}
