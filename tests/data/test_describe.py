"""Descriptions by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.describe import Lengths, describe, lengths
from expunge.data.record import Message, Record
from expunge.storage.plain import to_json
from expunge.storage.secret import Secret


def secret(text: str) -> Secret:
    return Secret(text, "record")


def records() -> list[Record]:
    return [
        Record(index=0, split="data", kind="text", answer=secret("Ann, ann@x.org"), subject=secret("Ann")),
        Record(index=1, split="data", kind="qa", answer=secret("мир"), prompt=secret("q"), subject=secret(" ANN ")),
        Record(
            index=2,
            split="data",
            kind="messages",
            answer=secret("b"),
            messages=(Message(role="user", content=secret("a")),),
            perturbed_answers=(secret("415-555-0132"),),
        ),
    ]


def test_description_by_hand():
    found = describe(records(), tokens=lambda record: record.index + 1)
    assert found.records == 3
    assert (found.subjects, found.without_subject) == (1, 1)
    assert found.shapes == {"messages": 1, "qa": 1, "text": 1}
    assert found.characters == Lengths(3, 5, 14, 14)  # "a\nb", "q\nмир", 14 characters
    assert found.tokens == Lengths(1, 2, 3, 3)
    assert found.scripts == {"Latin": 0.8125, "Cyrillic": 0.1875}  # 10 + 1 + 2 and 3 of 16 letters
    assert found.personal == {"email": 1, "iban": 0, "phone": 1, "id": 0}
    assert "Ann" not in to_json(found.plain())


def test_nothing():
    found = describe([])
    assert (found.records, found.characters, found.tokens, found.scripts) == (0, None, None, {})


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([7], (7, 7, 7, 7)),
        ([4, 1], (1, 2.5, 4, 4)),
        (range(1, 101), (1, 50.5, 95, 100)),
        (range(1, 21), (1, 10.5, 19, 20)),
        ([5, 5, 1], (1, 5, 5, 5)),
    ],
)
def test_lengths_by_hand(sizes, expected):
    assert lengths(list(sizes)) == expected


@given(st.lists(st.integers(0, 1000), min_size=1))
def test_lengths_against_numpy(sizes):
    found = lengths(sizes)
    assert found.median == np.median(sizes)
    assert found.p95 == np.quantile(sizes, 0.95, method="inverted_cdf")
