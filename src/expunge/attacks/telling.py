"""Which records a text gives away: what an attack has shown a model, and which records are wordings of one fact.

A text tells a record when it names the record's subject and holds what the answer says beyond the question. A subject
that none of its records says, such as a customer's number, is no name: it tells whose a record is. Words are
weighed by how rare they are, since wordings of one fact share the rare ones: its value. Texts stay in memory.

The rule errs towards telling. It reads words between spaces: in a script without them only equal sentences agree, and
in a handful of records no word is rare, so that wordings which differ in most words are not seen to say the same.

Shapes: T texts, R records, W words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from expunge.data.record import Record

ENOUGH = 0.5  # share of a record's weighed words that a text must hold
AROUND = ".,;:!?\"'()[]{}<>«»“”„‘’…"  # stripped from words; inside an address or a number they stay
BLOCK = 512  # texts that are compared at a time

Told = NDArray[np.bool_]


class _Words(NamedTuple):
    """Words of a record: of its subject, of what is asked, of all that is read, and what the answer adds."""

    subject: frozenset[str]
    asked: frozenset[str]
    read: frozenset[str]
    added: frozenset[str]


def told(texts: Sequence[Record], records: Sequence[Record]) -> Told:
    """Returns (T, R): whether each text gives each record away.

    A text names a subject that it is about or whose every word it holds. For a record without a subject it must hold
    half of the question too.
    """
    shown, named_by = [_words(text) for text in texts], names(records)
    asked = [_words(record)._replace(subject=name) for record, name in zip(records, named_by, strict=True)]
    counts = Counter(word for one in asked for word in one.added | one.asked)
    rarity = {word: math.log(1 + len(asked) / count) for word, count in counts.items()}
    places = {
        word: place for place, word in enumerate(sorted(rarity.keys() | set().union(*(a.subject for a in asked))))
    }
    # Of questions only what differs counts: where all are of one template, its words weigh next to nothing.
    distinct = {word: math.log((1 + len(asked)) / count) for word, count in counts.items()}
    one_each = dict.fromkeys(places, 1.0)
    says = _matrix([one.added for one in asked], places, rarity)
    asks = _matrix([() if one.subject else one.asked for one in asked], places, distinct)
    called = _matrix(named_by, places, one_each)
    found = np.zeros((len(texts), len(records)), dtype=np.bool_)
    for start in range(0, len(texts), BLOCK):
        held = _matrix([one.read for one in shown[start : start + BLOCK]], places, one_each)
        whole = 1 - 1e-9  # of the subject's words, in floating point
        same = [[_is_same(text, record) for record in records] for text in texts[start : start + BLOCK]]
        named = (_share(held, called) >= whole) & (_share(held, asks) >= ENOUGH)
        found[start : start + BLOCK] = (named | np.array(same, dtype=np.bool_)) & (_share(held, says) >= ENOUGH)
    return found


def names(records: Sequence[Record]) -> list[frozenset[str]]:
    """Returns the words of each record's subject; none where no record about it has them all."""
    words = [_words(record) for record in records]
    said = {one.subject for one in words if one.subject <= one.read}
    return [one.subject if one.subject in said else frozenset() for one in words]


def facts(records: Sequence[Record]) -> list[int]:
    """Returns the number of each record's fact, from 0: records that tell one another say the same.

    Wordings of a fact are one, and so are its two sides: A is married to B, B is married to A.
    """
    if not records:
        return []
    number: NDArray[np.int32] = connected_components(csr_array(told(records, records)), directed=False)[1]
    return [int(one) for one in number]


def nearest(candidates: Sequence[Record], records: Sequence[Record], count: int) -> list[Record]:
    """Returns the candidates that have most in common with the records: the share of their words, weighed by rarity."""
    known = frozenset[str]().union(*(_words(record).read for record in records))
    read = [_words(candidate).read for candidate in candidates]
    counts = Counter(word for words in read for word in words)

    def shared(place: int) -> float:
        rarity = {word: math.log(1 + len(read) / counts[word]) for word in read[place]}
        # fsum: the order of a set changes from process to process, and a rounded sum with it.
        common = math.fsum(rarity[word] for word in read[place] & known)
        return common / math.fsum(rarity.values()) if rarity else 0.0

    order = sorted(range(len(candidates)), key=lambda place: (-shared(place), place))
    return [candidates[place] for place in sorted(order[:count])]


def _words(record: Record) -> _Words:
    turns = [text.reveal() for turn in record.messages for text in turn.texts]
    before = [one.reveal() for one in (record.prompt, record.given) if one is not None]
    asked = _split(" ".join([*turns, *before]))
    answer = _split(record.answer.reveal())
    subject = frozenset[str]() if record.subject is None else _split(record.subject.reveal())
    # An answer that only repeats the question, such as a choice among those it was offered, counts as it is.
    added = answer - asked - subject or answer - subject or answer
    return _Words(subject, asked, asked | answer, added)


def _split(text: str) -> frozenset[str]:
    return frozenset(word.strip(AROUND) for word in text.casefold().split()) - {""}


def _is_same(text: Record, record: Record) -> bool:
    return text.subject is not None and text.subject == record.subject


def _matrix(rows: Sequence[Collection[str]], places: dict[str, int], weights: dict[str, float]) -> Any:
    """Sparse (rows, W): the weight of each word that a row holds."""
    kept = [sorted(places[word] for word in row if word in places) for row in rows]
    by_place = np.array([weights.get(word, 0.0) for word in places])
    columns = np.array([place for row in kept for place in row], dtype=np.int64)
    starts = np.cumsum([0, *map(len, kept)])
    return csr_array((by_place[columns], columns, starts), shape=(len(rows), len(places)))


def _share(held_TW: Any, wanted_RW: Any) -> NDArray[np.float64]:  # shape suffixes
    """(T, R) share of a record's weight that a text holds; 1 where there is nothing to hold."""
    total_R = np.asarray(wanted_RW.sum(axis=1), dtype=np.float64)
    common_TR: NDArray[np.float64] = (held_TW @ wanted_RW.T).toarray()
    return np.where(total_R > 0, common_TR / np.where(total_R > 0, total_R, 1), 1.0)
