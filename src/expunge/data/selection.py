"""Which records of a data set stay: clean, of the right length, each once, and free of what must be forgotten."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from expunge.data.checks import fingerprint
from expunge.data.clean import STEPS, clean
from expunge.data.describe import Length
from expunge.data.duplicates import Near, near_duplicates, shingles
from expunge.data.exclude import RULES, Forgotten, Hit, Hits, count_rules
from expunge.data.record import Record
from expunge.data.words import trained_text
from expunge.data.write import row
from expunge.errors import InputError
from expunge.functional.words import folded
from expunge.registry import suggest
from expunge.storage.progress import SILENT, Phases

ALL_STEPS = {
    **STEPS,
    "exact": "records that equal another but for case, white space and Unicode form left out",
    "near": "records that nearly equal another left out; of two the first with a subject stays",
}


class Item(NamedTuple):
    """A record and the number, from 1, of the file it stood in; 0 is the forget file."""

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
        duplicates: rows left out as exact or near duplicates, with ``similarity`` and the place of the one that stays.
        dropped: rows left out for themselves, with ``reason``: ``empty``, ``too_short`` or ``too_long``.
        searched: names that were looked for.
        counts: what each step did.
    """

    kept: list[Item]
    hits: list[Hit]
    forget: list[Record]
    excluded: list[dict[str, Any]]
    duplicates: list[dict[str, Any]]
    dropped: list[dict[str, Any]]
    searched: list[str]
    counts: dict[str, Any]


class _Clean(NamedTuple):
    """Records after cleaning, those that had no visible text, and what each step did."""

    items: list[Item]
    empty: list[Item]
    counts: dict[str, Any]


class _Chosen(NamedTuple):
    """The forget records, those of them that had no visible text, and the data without both."""

    items: list[Item]
    empty: list[Item]
    rest: list[Item]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Settings of the selection.

    Attributes:
        near: how near duplicates are found.
        min_tokens: shortest record to keep; what must be forgotten stays whatever its length.
        max_tokens: longest record to keep; likewise.
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

    def select(
        self, items: Sequence[Item], wanted: Wanted, count: Length | None = None, phases: Phases = SILENT
    ) -> Selected:
        """Takes all steps in turn.

        Args:
            items: the data, in order.
            wanted: what must be forgotten.
            count: length of a record in tokens; needed for limits of length.
            phases: where each part of the work is begun, with its number of records.

        Raises:
            InputError: no record is to be forgotten although names or phrases were given, or none stays.
        """
        finder = Forgotten([], wanted.names, wanted.phrases)
        data = self._cleaned(items, phases)
        # Before any limit of length, which no forget record has to keep: what is dropped here stays in the model.
        chosen = self._chosen(data, wanted, finder, phases)
        fitting, misfits = self._fitting(chosen.rest, count, phases)
        forget_items, forget_doubles = self._unique(chosen.items)
        unique, doubles = self._unique(fitting)
        single, near_doubles = self._without_near(unique, phases)
        forget = [_with_subject(item.record, finder) for item in sorted(forget_items, key=_place)]
        forgotten = Forgotten(forget, wanted.names, wanted.phrases)
        found = forgotten.hits([item.record for item in single], self.near, phases)
        kept, excluded = self._excluded(
            sorted(zip(single, found.records, strict=True), key=lambda pair: _place(pair[0]))
        )
        if not kept:
            raise InputError(f"None of the {len(items)} records stays; loosen the limits, or --keep a rule.")
        exact = [*forget_doubles, *doubles]
        given_empty = [item for item in chosen.empty if item.file == 0]  # the others are among those of the data
        empty = [item.row(reason="empty") for item in (*data.empty, *given_empty)]
        counts = {
            "cleaning": data.counts,
            "outside_length": len(misfits),
            "duplicates": {"exact": sum(one["file"] > 0 for one in exact), "near": len(near_doubles)},
            "forget": {
                "lost": {"empty": len(chosen.empty), "exact": len(forget_doubles)},
                "outside_length": len(self._fitting(chosen.items, count, SILENT)[1]),
            },
            "excluded": _exclusion(excluded, found),
        }
        return Selected(
            kept=[item for item, _ in kept],
            hits=[hit for _, hit in kept],
            forget=forget,
            excluded=excluded,
            duplicates=sorted((*exact, *near_doubles), key=_row_place),
            dropped=sorted((*empty, *misfits), key=_row_place),
            searched=forgotten.names,
            counts=counts,
        )

    def _cleaned(self, items: Sequence[Item], phases: Phases) -> _Clean:
        with phases.phase("clean", len(items)) as steps:
            found = clean(steps.over(item.record for item in items), self.steps)
        kept = [Item(record, items[place].file) for record, place in zip(found.records, found.rows, strict=True)]
        stays = set(found.rows)
        empty = [item for place, item in enumerate(items) if place not in stays]
        return _Clean(kept, empty, {"changed": found.changed, "noticed": found.noticed})

    def _chosen(self, data: _Clean, wanted: Wanted, finder: Forgotten, phases: Phases) -> _Chosen:
        if wanted.forget is not None:
            given = self._cleaned([Item(record, 0) for record in wanted.forget], SILENT)
            return _Chosen(given.items, given.empty, data.items)
        with phases.phase("look for names and phrases", len(data.items)) as steps:
            holds = [finder.holds(item.record) for item in steps.over(data.items)]
        found = [item for item, is_held in zip(data.items, holds, strict=True) if is_held]
        if not found and (wanted.names or wanted.phrases):
            raise InputError("No record of the data holds any of the names or phrases; check how they are written.")
        rest = [item for item, is_held in zip(data.items, holds, strict=True) if not is_held]
        return _Chosen(found, [item for item in data.empty if finder.holds(item.record)], rest)

    def _fitting(
        self, items: Sequence[Item], count: Length | None, phases: Phases
    ) -> tuple[list[Item], list[dict[str, Any]]]:
        """The records inside the limits of length, and rows of the others."""
        if count is None or (self.min_tokens is None and self.max_tokens is None):
            return list(items), []
        least, most = self.min_tokens or 0, sys.maxsize if self.max_tokens is None else self.max_tokens
        fitting, misfits = [], []
        with phases.phase("count tokens", len(items)) as steps:
            for item in steps.over(items):
                length = count(item.record)
                if least <= length <= most:
                    fitting.append(item)
                else:
                    misfits.append(item.row(reason="too_short" if length < least else "too_long"))
        return fitting, misfits

    def _unique(self, items: Sequence[Item]) -> tuple[list[Item], list[dict[str, Any]]]:
        """The first of equal records, those with a subject before the others, and rows of the rest."""
        # Of equal records the one that says whom it is about stays, or a forgotten subject would go unseen.
        ordered = sorted(items, key=lambda item: item.record.subject is None)
        if "exact" not in self.steps:
            return ordered, []
        first: dict[bytes, Item] = {}
        doubles = []
        for item in ordered:
            stays = first.setdefault(fingerprint(item.record), item)
            if stays is not item:
                doubles.append(_double(item, 1.0, stays))
        return list(first.values()), doubles

    def _without_near(self, items: Sequence[Item], phases: Phases) -> tuple[list[Item], list[dict[str, Any]]]:
        if "near" not in self.steps:
            return list(items), []
        # Long records of one form may differ in a name and a number only; of two subjects both stay.
        subjects = [None if one.record.subject is None else folded(one.record.subject.reveal()) for one in items]
        with phases.phase("hash all records", len(items)) as steps:
            sets = [shingles(trained_text(item.record)) for item in steps.over(items)]
        with phases.phase("find near duplicates", len(items)) as steps:
            matches = near_duplicates(sets, self.near, subjects, steps)
        kept = [item for item, match in zip(items, matches, strict=True) if match is None]
        pairs = [(item, match) for item, match in zip(items, matches, strict=True) if match is not None]
        return kept, [_double(item, match.similarity, items[match.row]) for item, match in pairs]

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


def _exclusion(excluded: Sequence[Mapping[str, Any]], found: Hits) -> dict[str, Any]:
    return {
        "records": len(excluded),
        "moved_by": {rule: sum(one["rule"] == rule for one in excluded) for rule in RULES},
        "holds_for": count_rules(found.records),
        "passages": found.passages,
        "common_passages": found.common_passages,
    }


def _row_place(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["file"], row["record"]


def _check_names(given: Iterable[str], known: Iterable[str], what: str) -> None:
    for name in sorted(given):
        if name not in known:
            raise InputError(f"There is no {what} named {name!r}.{suggest(name, known)}")


def _double(item: Item, similarity: float, stays: Item) -> dict[str, Any]:
    place = {"file": stays.file, "record": stays.record.index}
    return item.row(similarity=round(similarity, 4), like=place)


def _with_subject(record: Record, finder: Forgotten) -> Record:
    """The record with the one name it holds as its subject, where it has none; intervals are clustered by it."""
    named = finder.named(record) if record.subject is None else []
    return replace(record, subject=record.answer.relabel(named[0])) if len(named) == 1 else record
