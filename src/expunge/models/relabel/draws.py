"""Chance of its own for each record: decided by seed, sample and number of the record, and by nothing else."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence

from expunge.data.record import Record
from expunge.errors import InputError
from expunge.functional.words import folded


def draw_seed(name: str, *numbers: int) -> int:
    """Returns 64 bits that depend on a name and on numbers, such as seed, sample and record."""
    key = hashlib.sha256("/".join((name, *map(str, numbers))).encode()).digest()
    return int.from_bytes(key[:8], "big")


def draws(name: str, *numbers: int) -> random.Random:
    """Returns a generator that nothing else draws from; arguments as for ``draw_seed``."""
    return random.Random(draw_seed(name, *numbers))  # noqa: S311 - reproducible draws, no secrets


def shuffled(count: int, source: random.Random) -> Iterator[int]:
    """Yields 0 to ``count - 1`` in random order; the first few cost no more than they are."""
    moved: dict[int, int] = {}
    for place in range(count):
        other = source.randrange(place, count)
        yield moved.get(other, other)
        moved[other] = moved.get(place, place)


def distinct(texts: Sequence[str]) -> dict[str, str]:
    """Texts that differ by more than case, width and white space, each under its folded form."""
    found: dict[str, str] = {}
    for text in texts:
        found.setdefault(folded(text), text)
    found.pop("", None)
    return found


def pick(options: dict[str, str], sample: int, source: random.Random, *, but: str) -> str | None:
    """Returns another option for each sample, in random order and then again from the first; None where there is none.

    Args:
        options: as made by ``distinct``.
        sample: which one, from 0.
        source: gives the order; the same for all samples.
        but: a text that is never returned, in whatever case or spacing.
    """
    left = len(options) - (folded(but) in options)
    if left < 1:
        return None
    keys = list(options)
    others = (keys[place] for place in shuffled(len(keys), source) if keys[place] != folded(but))
    return next(options[key] for number, key in enumerate(others) if number == sample % left)


def answered(record: Record, answer: str) -> Record:
    """Returns the record with another answer; a completion keeps the white space that parts it from its prompt."""
    old = record.answer.reveal()
    before = old[: len(old) - len(old.lstrip())] if record.kind == "completion" else ""
    return record.with_answer(before + answer.strip())


def refuse_text(records: Sequence[Record], name: str) -> None:
    """Refuses plain text, which has no question that another answer could belong to.

    Raises:
        InputError: names the first such record.
    """
    for record in records:
        if record.kind == "text":
            raise InputError(
                f"Record {record.index} is plain text, which has no question that another answer could belong to, so "
                f"the relabeller {name} cannot be used. Hand in records with prompt and completion, or choose one of "
                "masked, noisy_text, entity_swap, random_token or top1_wrong."
            )


def listed(records: Sequence[Record]) -> str:
    """Numbers of records for a message, at most ten of them."""
    return ", ".join(str(record.index) for record in records[:10]) + (", ..." if len(records) > 10 else "")
