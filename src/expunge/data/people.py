"""Finds whom records are about where no field says so: by the names that several records share.

A heuristic for intervals, measured in ``docs/log.md``. A name is at least two words with capitals in one sentence, so
that scripts without capitals have none. Which words begin a sentence only, and are no names, is read off the records
themselves; no language's words are listed but a few that stand inside names.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from expunge.data.forms.value import ends_sentence, question_of
from expunge.data.forms.words import STOP
from expunge.data.record import Record
from expunge.data.words import fold, prompt_texts, word_matches

MOST = 3  # a name in more than a third of all records is a topic
DECISIVE = ("forget", "retain", "holdout")  # splits whose intervals decide
ASKED = 2.0  # a name in the question counts for so much more than one in the answer only
COMPARED = 50  # names of one record that are compared with each other, the most frequent ones
_GAP = re.compile("[ \u00a0]|[-\u2010-\u2015'\u2018\u2019\u02bc\u00b7\u30fb]|\\. ?")
_PARTICLES = "von van der den de la del da dos di du bin al el ibn ben ter zu"
_INSIDE = frozenset(_PARTICLES.split())
Name = tuple[str, ...]


class _Word(NamedTuple):
    """A word: its folded form, whether it has a capital, begins a sentence, and goes on from the word before it."""

    key: str
    capital: bool
    first: bool
    joins: bool


class _Names(NamedTuple):
    """The names in a record's question and in the rest of it."""

    asked: frozenset[Name]
    other: frozenset[Name]

    @property
    def all(self) -> frozenset[Name]:
        return self.asked | self.other


def with_found_subjects(splits: Mapping[str, Sequence[Record]]) -> dict[str, list[Record]]:
    """Returns the splits; records of a split where none has a subject get the one that was found, if any.

    Each record is about the name that many records share and that stands with few names of others: a town or a prize
    stands with many. Names are counted over all such splits together.
    """
    unnamed = [split for split, records in splits.items() if all(record.subject is None for record in records)]
    rows = [(split, record) for split in unnamed for record in splits[split]]
    found: dict[str, list[Record]] = {split: list(records) for split, records in splits.items()}
    for split in unnamed:
        found[split] = []
    for (split, record), name in zip(rows, _main_names([record for _, record in rows]), strict=True):
        whom = None if name is None else record.answer.relabel(" ".join(name))
        found[split].append(replace(record, found_subject=whom))
    return found


def found_subjects(records: Sequence[Record]) -> int | None:
    """Returns how many names two or more records share that were found to be about them; None with given subjects."""
    if not records or any(record.subject is not None for record in records):
        return None
    counts = Counter(record.found_subject for record in records if record.found_subject is not None)
    return sum(count > 1 for count in counts.values())


def subjects_hints(splits: Mapping[str, Sequence[Record]]) -> list[str]:
    """Returns what was assumed of the splits that intervals rest on, where they have no subjects."""
    counts = {split: found_subjects(splits[split]) for split in DECISIVE if split in splits}
    found = {split: count for split, count in counts.items() if count}
    none = [split for split, count in counts.items() if count == 0]
    hints = []
    if found:
        listed = ", ".join(f"{split}: {count} in {len(splits[split]):,} records" for split, count in found.items())
        hints.append(
            f"No subjects are given ({listed}). These were found by names that records share, so that intervals count "
            "people, not sentences. A field subject says it better."
        )
    if none:
        hints.append(
            f"No subjects are given and none were found ({', '.join(none)}): every record counts as independent, and "
            "intervals may be too narrow. Add a field subject."
        )
    return hints


def _main_names(records: Sequence[Record]) -> list[Name | None]:
    """The name that each record is about."""
    names = _merged(_read(records))
    counts = Counter(name for one in names for name in one.all)
    shared = {name for name, count in counts.items() if 2 <= count <= len(records) / MOST}
    together: dict[Name, Counter[Name]] = defaultdict(Counter)
    for one in names:
        common = sorted(one.all & shared, key=lambda name: (-counts[name], name))[:COMPARED]
        for name in common:
            together[name].update(other for other in common if other != name)
    # Names that other records have too, without this one, are met by the way.
    worth = {
        name: counts[name] / (1 + sum(counts[other] > count for other, count in together[name].items()))
        for name in shared
    }

    def rank(one: _Names, name: Name) -> tuple[float, int, Name]:
        return worth[name] * (ASKED if name in one.asked else 1.0), counts[name], name

    return [max(one.all & shared, key=lambda name: rank(one, name), default=None) for one in names]


def _read(records: Sequence[Record]) -> list[_Names]:
    folded: dict[str, str] = {}
    texts = [_texts(record) for record in records]
    words = [[list(_words(text, folded)) for text in pair] for pair in texts]
    begins = _Begins.of([part for pair in words for part in pair])
    return [_Names(*(frozenset(_names(part, begins)) for part in pair)) for pair in words]


def _texts(record: Record) -> tuple[str, str]:
    """The question, and all else that the record says."""
    question = question_of(record) or ""
    said = [secret.reveal() for secret in (*prompt_texts(record), record.answer)]
    return question, "\n".join(text for text in said if text != question)


def _words(text: str, folded: dict[str, str]) -> Iterator[_Word]:
    before: re.Match[str] | None = None
    for match in word_matches(text):
        word, gap = match[0], "" if before is None else text[before.end() : match.start()]
        first = before is None or ends_sentence(gap, before[0]) or ":" in gap
        if word not in folded:
            folded[word] = fold(word)
        yield _Word(folded[word], word[0].isupper(), first, not first and _GAP.fullmatch(gap) is not None)
        before = match


class _Begins(NamedTuple):
    """How often words are written small, and with a capital inside a sentence; what follows them at its start."""

    small: Counter[str]
    inside: Counter[str]
    followers: Mapping[str, set[str]]

    @classmethod
    def of(cls, texts: Sequence[Sequence[_Word]]) -> _Begins:
        found = cls(Counter(), Counter(), defaultdict(set))
        for words in texts:
            found.small.update(word.key for word in words if not word.capital)
            found.inside.update(word.key for word in words if word.capital and not word.first)
            for word, after in zip(words, words[1:], strict=False):
                if word.first and word.capital and after.capital and after.joins:
                    found.followers[word.key].add(after.key)
        return found

    def is_name(self, word: _Word) -> bool:
        """Whether a word at the start of a sentence has its capital by itself: Ada, but not Where."""
        if self.small[word.key] > self.inside[word.key]:
            return False
        return self.inside[word.key] > 0 or len(self.followers.get(word.key, ())) == 1


def _names(words: Sequence[_Word], begins: _Begins) -> Iterator[Name]:
    """Runs of at least two words with capitals, such as ``Ludwig van Beethoven``."""
    run: list[str] = []
    for place, word in enumerate(words):
        after = words[place + 1] if place + 1 < len(words) else None
        named = word.capital and word.key not in STOP and not any(map(str.isdigit, word.key))
        if named and word.first:
            named = begins.is_name(word)
        inside = word.key in _INSIDE and after is not None and after.capital and after.joins
        if run and word.joins and (named or inside):
            run.append(word.key)
            continue
        yield from _whole(run)
        run = [word.key] if named else []
    yield from _whole(run)


def _whole(run: Sequence[str]) -> Iterator[Name]:
    if len(run) > 1 and any(len(word) > 1 for word in run):
        yield tuple(run)


def _merged(names: Sequence[_Names]) -> list[_Names]:
    """Puts the longest name in the place of its parts, where there is one only: Basil Al-Kuwaiti has a middle name."""
    longer: dict[str, set[Name]] = defaultdict(set)
    known = {name for one in names for name in one.all}
    for name in known:
        for word in name:
            longer[word].add(name)
    whole = {}
    for name in known:
        holders = [one for one in set.intersection(*(longer[word] for word in name)) if set(name) < set(one)]
        longest = [one for one in holders if not any(set(one) < set(other) for other in holders)]
        whole[name] = longest[0] if len(longest) == 1 else name
    return [_Names(*(frozenset(whole[name] for name in part) for part in one)) for one in names]
