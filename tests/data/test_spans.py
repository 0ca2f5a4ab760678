"""Shapes of personal data: by hand, and against labelled sentences."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.spans import KINDS, Span, spans

FOUND = [
    ("write to Ann.Lee+x@Mail.example.org.", [Span("email", "ann.lee+x@mail.example.org")]),
    (r"[ann\_lee@me.com](mailto:ann_lee@me.com)", [Span("email", "ann_lee@me.com")] * 2),
    ("IBAN GB82 WEST 1234 5698 7654 32,", [Span("iban", "gb82west12345698765432")]),
    ("call +49 (0)30 1234-5678 now", [Span("phone", "4903012345678")]),
    ("call 0049 30 123456", [Span("phone", "4930123456")]),
    ("(415) 555-0132 or 415.555.0133", [Span("phone", "4155550132"), Span("phone", "4155550133")]),
    ("07700 900 123", [Span("phone", "07700900123")]),
    ("SSN 900-51-4344", [Span("id", "900514344")]),
    ("her number is 900514344.", [Span("id", "900514344")]),
    ("card 4454 7945 1139 0933", [Span("id", "4454794511390933")]),
    ("9c572a7b-6ace-4f06-ae9f-2cc6754267bf", [Span("id", "9c572a7b6ace4f06ae9f2cc6754267bf")]),
    ("badge KX-4471-B", [Span("id", "kx4471b")]),
    ("passport C01234567", [Span("id", "c01234567")]),
    ("００４９ ３０ １２３４５６", [Span("phone", "4930123456")]),
]
NOTHING = [
    "born 1984-12-31, 31.12.1984, 08/09/1956 or 1998-2004",
    "in 2020 there were 12345 of 1,234,567 people, or 12.3456789 %",
    "$1500000 and €250000.50",
    "COVID-19, UTF-8, B-52, Route-66, the season 2019-20",
    "@handle, a@b, user@localhost",
    "chapter 3.1.4 of 10 12 14",
]


@pytest.mark.parametrize(("text", "expected"), FOUND)
def test_spans_by_hand(text, expected):
    assert spans(text) == expected


@pytest.mark.parametrize("text", NOTHING)
def test_what_is_no_personal_data(text):
    assert spans(text) == []


HARD = [
    *("0", "1 ", "+0", "a.", "a@", "A-", "(0", "ab12 ", "1234 ", "\\(0 1", "+1 (2) 3 ", "00", "1-", "x1", "a.a@a.a-"),
]


@pytest.mark.parametrize("piece", HARD)
def test_no_text_takes_long(piece):
    began = time.process_time()
    spans("1 1 1 " + piece * (300_000 // len(piece)))
    assert time.process_time() - began < 3


@given(st.text())
def test_any_text_gives_known_kinds(text):
    assert all(span.kind in KINDS and span.value for span in spans(text))


LABELS = {
    **{"EMAIL_ADDRESS": 1.0, "IBAN_CODE": 1.0, "CREDIT_CARD": 1.0, "US_SSN": 1.0, "US_DRIVER_LICENSE": 1.0},
    "PHONE_NUMBER": 0.7,  # numbers without a prefix look like any others
}


def test_labelled_sentences(shared_data, capsys):
    def plain(value: str) -> str:
        return "".join(filter(str.isalnum, value.casefold())).removeprefix("00")

    rows = json.loads((shared_data / "pii" / "synth_dataset_v2.json").read_text())
    there, found, wrong, total = Counter(), Counter(), 0, 0
    for one in rows:
        values = {plain(span.value) for span in spans(one["full_text"])}
        labelled = [(span["entity_type"], plain(span["entity_value"])) for span in one["spans"]]
        known = {value for label, value in labelled if label in LABELS}
        there.update(label for label, _ in labelled)
        found.update(label for label, value in labelled if value in values)
        total += len(values)
        wrong += len(values - known)
    with capsys.disabled():
        recall = ", ".join(f"{label} {found[label]}/{there[label]}" for label in LABELS)
        print(f"\npersonal data found: {recall}; {wrong} of {total} spans are something else")  # noqa: T201
    assert all(found[label] / there[label] >= least for label, least in LABELS.items())
    assert wrong / total < 0.05
