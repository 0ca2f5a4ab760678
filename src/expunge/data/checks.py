"""Checks across records: duplicates, and records that are to be forgotten and kept at once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from expunge.data.record import Record, Variant
from expunge.data.words import prompt_texts
from expunge.errors import InputError
from expunge.functional.words import folded
from expunge.storage.plain import to_json
from expunge.storage.secret import Secret

TRAINED = ("retain", "train_retain")  # what the model goes on training on
KEPT = (*TRAINED, "world_facts", "real_authors")  # what should have stayed
PART_OF_RETAIN = "neighbours_"


class SplitReport(NamedTuple):
    """Numbers of records, of exact duplicates inside each set, and of records that stand in both."""

    forget: int
    retain: int
    forget_duplicates: int
    retain_duplicates: int
    overlap: int


class Overlap(NamedTuple):
    """Records of one split that another split contains too; ``places`` are their numbers in the first."""

    split: str
    other: str
    records: int
    places: tuple[int, ...]

    @property
    def sentence(self) -> str:
        """What a report says of it."""
        return (
            f"{len(self.places)} of {self.records} {self.split} records are in the {self.other} set too, "
            f"so {_consequence(self)}."
        )


def check_splits(
    forget: Sequence[Record], retain: Sequence[Record], *, allow_overlap: bool = False, name: str = "retain"
) -> SplitReport:
    """Refuses sets that contradict themselves or each other.

    Texts are compared by digest after Unicode normalisation (NFKC), case folding and collapsing of white space.

    Args:
        forget: records to forget.
        retain: records that are trained on.
        allow_overlap: whether a record may be in both.
        name: what the second set is called.

    Raises:
        InputError: an empty forget set, an id that occurs twice, or an overlap that was not allowed.
    """
    if not forget:
        raise InputError("The forget set is empty; hand in at least one record with --forget, or a --benchmark.")
    for role, records in (("forget", forget), (name, retain)):
        _check_ids(role, records)
    kept = {fingerprint(record) for record in retain}
    shared = [record.index for record in forget if fingerprint(record) in kept]
    if shared and not allow_overlap:
        raise InputError(
            f"{len(shared)} of {len(forget)} forget records are in the {name} set too ({_listing(shared)}), so the run "
            f"would learn what it is to forget. Remove them from the {name} file, or pass --allow-overlap."
        )
    return SplitReport(len(forget), len(retain), _duplicates(forget), _duplicates(retain), len(shared))


def overlaps(splits: Mapping[str, Sequence[Record]]) -> list[Overlap]:
    """Returns the pairs of splits that share records although a measurement needs them apart.

    The forget set must have no record in what is kept or held out, and the holdout set none in what is kept.
    """
    digests = {split: [fingerprint(record) for record in records] for split, records in splits.items()}
    found = []
    for split, other in _apart(splits):
        there = set(digests[other])
        places = tuple(place for place, digest in enumerate(digests[split]) if digest in there)
        if places:
            found.append(Overlap(split, other, len(splits[split]), places))
    return found


def check_overlaps(splits: Mapping[str, Sequence[Record]], *, allow_overlap: bool = False) -> None:
    """Refuses splits that share records, see ``overlaps``.

    Args:
        splits: everything that is measured on.
        allow_overlap: whether a record may be in two splits.

    Raises:
        InputError: an overlap that was not allowed.
    """
    found = [] if allow_overlap else overlaps(splits)
    if found:
        first = found[0]
        raise InputError(
            f"{first.sentence[:-1]} ({_listing(first.places)}). Remove them from the {first.other} file, or pass "
            "--allow-overlap."
        )


def _apart(splits: Mapping[str, Sequence[Record]]) -> Iterator[tuple[str, str]]:
    """Pairs of splits that must share no record; parts of ``retain`` may repeat it."""
    kept = [split for split in splits if split in KEPT or split.startswith(PART_OF_RETAIN)]
    for split, others in (("forget", [*kept, "holdout"]), ("holdout", [one for one in kept if one in TRAINED])):
        if split in splits:
            yield from ((split, other) for other in others if other in splits)


def _consequence(overlap: Overlap) -> str:
    if overlap.split == "holdout":
        return "membership metrics compare the forget set with records that the model was trained on"
    if overlap.other == "holdout":
        return "membership metrics compare records with themselves"
    return "the same records count as forgotten and as kept"


def fingerprint(record: Record) -> bytes:
    """Digest of prompt and answer that survives differences of case, white space and Unicode form.

    A question and a conversation with the same words have the same digest, whatever shape their files have. Calls of
    tools count by function and arguments; their ids and the tools on offer do not.
    """
    prompts = prompt_texts(record)
    parts = [secret.reveal() for secret in (*prompts, record.answer)]
    return hashlib.sha256("\x1f".join(map(folded, parts)).encode("utf-8", "surrogatepass")).digest()


def content_digest(record: Record) -> bytes:
    """Digest of everything in a record that a number may depend on, to the letter: wordings, forms, subject, weight."""
    turns = [(turn.role, turn.content.reveal(), *_there(turn.fields)) for turn in record.messages]
    forms = {
        name: [(_open(one.prompt), one.answer.reveal(), *_started(one)) for one in variants]
        for name, variants in record.variants.items()
    }
    wordings = (record.paraphrased_question, record.paraphrased_answer, *record.perturbed_answers)
    own = (record.kind, _open(record.prompt), record.answer.reveal(), _open(record.subject), record.weight)
    whole = to_json(
        [(*own, *_started(record)), turns, [_open(wording) for wording in wordings], forms, *_there(record.tools)]
    )
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).digest()


def own_digest(record: Record) -> bytes:
    """``content_digest`` of the record alone, without its other wordings and forms."""
    return content_digest(
        replace(record, paraphrased_question=None, paraphrased_answer=None, perturbed_answers=(), variants={})
    )


def _started(one: Record | Variant) -> tuple[str | bool | None, ...]:
    """What only some forms have; nothing for the others, whose digests stay what they were."""
    return () if one.given is None and not one.goes_on else (_open(one.given), one.goes_on)


def _there(secret: Secret | None) -> tuple[str, ...]:
    """What only some conversations have; nothing for the others, whose digests stay what they were."""
    return () if secret is None else (secret.reveal(),)


def _open(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()


def _duplicates(records: Sequence[Record]) -> int:
    return len(records) - len({fingerprint(record) for record in records})


def _check_ids(name: str, records: Sequence[Record]) -> None:
    counts = Counter(record.id for record in records if record.id is not None)
    twice = [record.index for record in records if record.id is not None and counts[record.id] > 1]
    if twice:
        raise InputError(
            f"{len(twice)} {name} records share an id with another ({_listing(twice)}); make each id unique."
        )


def _listing(places: Sequence[int]) -> str:
    return "records " + ", ".join(map(str, places[:10])) + (", ..." if len(places) > 10 else "")
