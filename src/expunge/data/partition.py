"""Splits that every record finds by itself: a keyed hash of its subject decides, so that no record moves another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from expunge.data.checks import fingerprint
from expunge.data.record import Record
from expunge.errors import InputError
from expunge.functional.words import folded

RETAIN = "retain"


def partition(records: Sequence[Record], shares: Mapping[str, float], seed: int) -> list[str]:
    """Returns the split of each record: one of ``shares``, or ``retain``.

    All records of one subject (but for case, white space and Unicode form) come into one split, and so do all records
    of the same words without a subject. Records of the first share stay where they are when further shares follow.

    Args:
        records: what to split, in any order.
        shares: expected share of subjects by split.
        seed: other seeds give other splits.

    Raises:
        InputError: a share that is not between 0 and 1, or nothing left to retain.
    """
    for name, share in shares.items():
        if not 0 < share < 1:
            raise InputError(f"The share of {name} is a number above 0 and below 1, not {share}.")
    total = sum(shares.values())
    if total >= 1:
        raise InputError(f"The shares add up to {total:g}, so nothing is left to retain; make them smaller.")
    return [_split(draw(record, seed), shares) for record in records]


def draw(record: Record, seed: int) -> float:
    """A number in [0, 1) that hangs on the seed and on the record's subject alone, or on its words without one."""
    subject = None if record.subject is None else b"s" + folded(record.subject.reveal()).encode()
    key = hashlib.sha256(f"expunge split {seed}".encode()).digest()
    digest = hashlib.blake2b(subject or b"r" + fingerprint(record), key=key, digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53  # the 53 bits that a float holds


def _split(drawn: float, shares: Mapping[str, float]) -> str:
    end = 0.0
    for name, share in shares.items():
        end += share
        if drawn < end:
            return name
    return RETAIN
