"""Which records of a data set stay: clean, of the right length, each once, and free of what must be forgotten."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from expunge.data.checks import fingerprint
from expunge.data.clean import STEPS, clean
from expunge.data.describe import Length
from expunge.data.duplicates import Match, Near, near_duplicates, shingles
from expunge.data.exclude import RULES, Forgotten, Hit, count_rules
from expunge.data.record import Record
from expunge.data.words import trained_text
from expunge.data.write import row
from expunge.errors import InputError
from expunge.functional.words import folded
from expunge.registry import suggest

ALL_STEPS = {
    **STEPS,
    "exact": "records that equal another but for case, white space and Unicode form left out",
    "near": "records that nearly equal another left out; of two the first with a subject stays",
}


class Item(NamedTuple):
    """A record and the number, from 1, of the file it stood in."""

    record: Record
    file: int

    def row(self, **more: Any) -> dict[str, Any]:
        """The record in clear with its place (file, and number in it from 0) and what is to be said of it."""
        return {**row(self.record), "file": self.file, "record": self.record.index, **more}


class Wanted(NamedTuple):
    """What must be forgotten: records, or None to take those that names and phrases find; names; phrases."""

    forget: list[Record] | None
    names: list[str]
    phrases: list[str]


class Selected(NamedTuple):
    """What selection made of the data.

    Attributes:
        kept: what stays.
        hits: for each of these the rules of exclusion that hold and were to move nothing.
        forget: the forget records.
        excluded: rows moved out, with ``rule`` and ``similarity``.
        duplicates: rows left out as near duplicates, with ``similarity`` and the place of the one that stays.
        searched: names that were looked for.
        counts: what each step did.
    """

    kept: list[Item]
    hits: list[Hit]
    forget: list[Record]
    excluded: list[dict[str, Any]]
    duplicates: list[dict[str, Any]]
    searched: list[str]
    counts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Settings of the selection.

    Attributes:
        near: how near duplicates are found.
        min_tokens: shortest record to keep.
        max_tokens: longest record to keep.
        skip: names of ``ALL_STEPS`` to leave out.
        keep: names of ``RULES`` that are counted and move nothing.
    """

    near: Near = Near()
    min_tokens: int | None = None
    max_tokens: int | None = None
    skip: frozenset[str] = frozenset()
    keep: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        _check_names(self.skip, ALL_STEPS, "step")
        _check_names(self.keep, RULES, "rule of exclusion")
        if self.min_tokens is not None and self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise InputError(f"--min-tokens {self.min_tokens} is above --max-tokens {self.max_tokens}; nothing stays.")

    @property
    def steps(self) -> frozenset[str]:
        """Steps to take."""
        return frozenset(ALL_STEPS) - self.skip

    def select(self, items: Sequence[Item], wanted: Wanted, count: Length | None = None) -> Selected:
        """Takes all steps in turn.

        Args:
            items: the data, in order.
            wanted: what must be forgotten.
            count: length of a record in tokens; needed for limits of length.

        Raises:
            InputError: no record is to be forgotten although names or phrases were given, or none stays.
        """
        clean_items, cleaning = self._cleaned(items)
        fitting = [item for item in clean_items if self._fits(item.record, count)]
        # Of equal records the one that says whom it is about stays, or a forgotten subject would go unseen.
        fitting.sort(key=lambda item: item.record.subject is None)
        unique = _first_of_each(fitting) if "exact" in self.steps else fitting
        forget, rest = self._forget(unique, wanted)
        single, doubles = self._without_near(rest)
        forgotten = Forgotten(forget, wanted.names, wanted.phrases)
        found = forgotten.hits([item.record for item in single], self.near)
        kept, excluded = self._excluded(
            sorted(zip(single, found.records, strict=True), key=lambda pair: _place(pair[0]))
        )
        if not kept:
            raise InputError(f"None of the {len(items)} records stays; loosen the limits, or --keep a rule.")
        counts = {
            "cleaning": cleaning,
            "outside_length": len(clean_items) - len(fitting),
            "duplicates": {"exact": len(fitting) - len(unique), "near": len(doubles)},
            "excluded": {
                "records": len(excluded),
                "moved_by": {rule: sum(one["rule"] == rule for one in excluded) for rule in RULES},
                "holds_for": count_rules(found.records),
                "passages": found.passages,
                "common_passages": found.common_passages,
            },
        }
        rows = [item for item, _ in kept], [hit for _, hit in kept]
        doubles.sort(key=lambda one: (one["file"], one["record"]))
        return Selected(*rows, forget, excluded, doubles, forgotten.names, counts)

    def _cleaned(self, items: Sequence[Item]) -> tuple[list[Item], dict[str, Any]]:
        found = clean([item.record for item in items], self.steps)
        kept = [Item(record, items[place].file) for record, place in zip(found.records, found.rows, strict=True)]
        return kept, {"changed": found.changed, "noticed": found.noticed}

    def _fits(self, record: Record, count: Length | None) -> bool:
        if count is None or (self.min_tokens is None and self.max_tokens is None):
            return True
        most = sys.maxsize if self.max_tokens is None else self.max_tokens
        return (self.min_tokens or 0) <= count(record) <= most

    def _forget(self, items: Sequence[Item], wanted: Wanted) -> tuple[list[Record], list[Item]]:
        """The forget records, each once, and the data without them where they are chosen from it."""
        finder = Forgotten([], wanted.names, wanted.phrases)
        if wanted.forget is not None:
            given = [Item(record, 0) for record in clean(wanted.forget, self.steps).records]
            chosen, rest = _first_of_each(given) if "exact" in self.steps else given, list(items)
        else:
            holds = [finder.holds(item.record) for item in items]
            chosen = sorted((item for item, is_held in zip(items, holds, strict=True) if is_held), key=_place)
            rest = [item for item, is_held in zip(items, holds, strict=True) if not is_held]
            if not chosen and (wanted.names or wanted.phrases):
                raise InputError("No record of the data holds any of the names or phrases; check how they are written.")
        return [_with_subject(item.record, finder) for item in chosen], rest

    def _without_near(self, items: Sequence[Item]) -> tuple[list[Item], list[dict[str, Any]]]:
        if "near" not in self.steps:
            return list(items), []
        sets = [shingles(trained_text(item.record)) for item in items]
        # Long records of one form may differ in a name and a number only; of two subjects both stay.
        subjects = [None if one.record.subject is None else folded(one.record.subject.reveal()) for one in items]
        matches = near_duplicates(sets, self.near, subjects)
        kept = [item for item, match in zip(items, matches, strict=True) if match is None]
        return kept, [_double(item, match, items) for item, match in zip(items, matches, strict=True) if match]

    def _excluded(self, judged: Iterable[tuple[Item, Hit]]) -> tuple[list[tuple[Item, Hit]], list[dict[str, Any]]]:
        rules = frozenset(RULES) - self.keep
        kept, excluded = [], []
        for item, hit in judged:
            rule = hit.rule(rules)
            if rule is None:
                kept.append((item, hit))
            else:
                similarity = None if hit.similarity is None else round(hit.similarity, 4)
                excluded.append(item.row(rule=rule, similarity=similarity))
        return kept, excluded


def _place(item: Item) -> tuple[int, int]:
    return item.file, item.record.index


def _check_names(given: Iterable[str], known: Iterable[str], what: str) -> None:
    for name in sorted(given):
        if name not in known:
            raise InputError(f"There is no {what} named {name!r}.{suggest(name, known)}")


def _first_of_each(items: Sequence[Item]) -> list[Item]:
    first: dict[bytes, Item] = {}
    for item in items:
        first.setdefault(fingerprint(item.record), item)
    return list(first.values())


def _double(item: Item, match: Match, items: Sequence[Item]) -> dict[str, Any]:
    stays = items[match.row]
    return item.row(similarity=round(match.similarity, 4), like={"file": stays.file, "record": stays.record.index})


def _with_subject(record: Record, finder: Forgotten) -> Record:
    """The record with the one name it holds as its subject, where it has none; intervals are clustered by it."""
    named = finder.named(record) if record.subject is None else []
    return replace(record, subject=record.answer.relabel(named[0])) if len(named) == 1 else record
