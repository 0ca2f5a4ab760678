"""Decoys of a value: what could stand in its place as well, for whoever never saw it.

Exposure: Carlini et al., 2019, https://arxiv.org/abs/1802.08232. A rank among decoys is a test only where the value is
a draw like any of them, so decoys are of three kinds, each a form of its own:

- ``decoy``: digits, dates and codes in the format of the value, which nobody could guess;
- ``decoy_value``: words from the values of other records that answer a like question;
- ``decoy_word``: made-up words. A fluent model prefers any real word to them, so their rank alone shows nothing.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from expunge.data.forms.shapes import (
    Segment,
    is_code,
    made_up,
    other_digits,
    other_month,
    random_code,
    segments,
    skeleton,
)
from expunge.data.forms.value import question_of, value_of
from expunge.data.forms.words import months_like, scan
from expunge.data.record import Record
from expunge.registry import forms
from expunge.storage.secret import Secret

DecoyForm = Literal["decoy", "decoy_value", "decoy_word"]
DECOY_FORMS: tuple[DecoyForm, ...] = ("decoy", "decoy_value", "decoy_word")
# A model that never saw the value ranks it like these, so they are a test by themselves; it prefers any real word to
# made-up ones, which have to be asked for.
TESTS: tuple[DecoyForm, ...] = ("decoy", "decoy_value")
ENOUGH = 19  # other values from which words are drawn; with fewer no p-value reaches 0.05
FORMAT = 5  # other values that show which parts of a format never change
TRIES = 20  # draws for each decoy wanted, before what there is must do
# Draws without a new value, for each one found, after which there is none left: all values of a format are equally
# likely, so one that is left was missed with a probability of exp(-30).
STALE = 30
LIKE = 0.5  # share of words that two questions for the same attribute have in common


class Other(NamedTuple):
    """The value of another record, and the words of the question that it answers."""

    value: str
    asked: frozenset[str]


class Decoys(NamedTuple):
    """Decoys of one value and their kind; distinct, and never the value itself."""

    form: DecoyForm
    values: tuple[Secret, ...]


def other_of(record: Record, common: Collection[str] = ()) -> Other | None:
    """Returns what the decoys of other records may be made from; None for a record without a value."""
    value = value_of(record, common)
    return None if value is None else Other(value, _asked(record))


@forms.register("decoy")
def decoys(
    record: Record, count: int = 1000, seed: int = 0, *, common: Collection[str] = (), others: Sequence[Other] = ()
) -> Decoys:
    """The value among alternatives of its format that no model has seen.

    Args:
        record: whose value is to be replaced; without a value there are no decoys.
        count: how many; fewer where the format has no more, such as days of a month.
        seed: with the texts of the record the only source of chance.
        common: keys of words that many answers of the split have.
        others: values of other records, from which formats and words are learnt.
    """
    value = value_of(record, common)
    if value is None:
        return Decoys("decoy", ())
    texts = (question_of(record) or "", record.answer.reveal())
    rng = random.Random("\x1f".join((str(seed), *texts)))  # noqa: S311 - reproducible draws, no secrets
    found = _whole(record, value, others, count, rng) or _composed(value, others, count, rng)
    return Decoys(found[0], tuple(record.answer.relabel(text) for text in found[1]))


Found = tuple[DecoyForm, list[str]]


def _whole(record: Record, value: str, others: Sequence[Other], count: int, rng: random.Random) -> Found | None:
    """Values of other records in place of words; None where the value is no word, or others are too few."""
    shape = skeleton(segments(value))
    if "0" in shape or "@" in value or months_like(value) is not None:
        return None
    asked = _asked(record)
    alike = sorted(
        {one.value for one in others if skeleton(segments(one.value)) == shape and _alike(one.asked, asked)} - {value}
    )
    if len(alike) < ENOUGH:
        return None
    return "decoy_value", rng.sample(alike, min(count, len(alike)))


def _composed(value: str, others: Sequence[Other], count: int, rng: random.Random) -> Found:
    parts = segments(value)
    # Words alone have the same shape whatever they name; signs and digits say that two values are of one kind.
    structured = "@" in value or any(part.kind == "digits" for part in parts)
    split = [segments(one.value) for one in others if structured and one.value != value]
    alike = [other for other in split if skeleton(other) == skeleton(parts)]
    sources = [_source(parts, place, [other[place] for other in alike]) for place in range(len(parts))]
    found: dict[str, None] = {}
    stale = 0
    for _ in range(TRIES * count):
        text = "".join(_drawn(parts, place, source, rng) for place, source in enumerate(sources))
        stale += 1
        if text != value and text not in found:
            found[text] = None
            stale = 0
        if len(found) == count or stale > STALE * (len(found) + 1):
            break
    manners = {source.manner for source in sources}
    form: DecoyForm = "decoy_word" if "made" in manners else "decoy_value" if "drawn" in manners else "decoy"
    return form, list(found)


class _Source(NamedTuple):
    """Where the text of one segment comes from, and the other values' texts at its place."""

    manner: Literal["kept", "digits", "month", "code", "drawn", "made"]
    texts: tuple[str, ...]


def _source(parts: Sequence[Segment], place: int, others: Sequence[Segment]) -> _Source:
    own = parts[place]
    texts = tuple(sorted({other.text for other in others}))
    if own.kind == "signs" or (len(others) >= FORMAT and texts == (own.text,)):
        return _Source("kept", texts)
    if own.kind == "digits":
        return _Source("digits", texts)
    if months_like(own.text) is not None:
        return _Source("month", texts)
    if is_code(parts, place):
        return _Source("code", texts)
    enough = len(set(texts) - {own.text}) >= ENOUGH
    return _Source("drawn" if enough else "made", texts)


def _drawn(parts: Sequence[Segment], place: int, source: _Source, rng: random.Random) -> str:
    own = parts[place].text
    if source.manner == "kept":
        return own
    if source.manner == "digits":
        years = [int(text) for text in source.texts if len(text) == 4 and 1900 <= int(text) < 2100]
        return other_digits(parts, place, years, rng)
    if source.manner == "month":
        return other_month(own, rng)
    if source.manner == "code":
        return random_code(own, rng)
    return rng.choice([text for text in source.texts if text != own]) if source.manner == "drawn" else made_up(own, rng)


def _asked(record: Record) -> frozenset[str]:
    """Words of the question but for the subject's: what is asked, of whomever."""
    about = {word.key for word in scan(record.subject.reveal())} if record.subject is not None else set()
    return frozenset(word.key for word in scan(question_of(record) or "")) - about


def _alike(left: frozenset[str], right: frozenset[str]) -> bool:
    return len(left & right) >= LIKE * len(left | right)
