"""Decoys: of the same format, distinct, never the value, the same for the same seed and record."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.data.forms.decoy import Other, decoys, other_of
from expunge.data.forms.shapes import segments, skeleton
from tests.data.forms.records import plain, qa

ASKED = "What is the number of Anna?"


def texts(record, **more) -> list[str]:
    return [value.reveal() for value in decoys(record, **more).values]


@pytest.mark.parametrize(
    ("value", "pattern", "form"),
    [
        ("555-123-4567", r"[1-9]\d\d-[1-9]\d\d-[1-9]\d{3}", "decoy"),
        ("14 May 1946", r"\d\d? (January|February|March|April|May|June|July|August|\w+ber) (19|20)\d\d", "decoy"),
        ("AB12-XY9999", r"[A-Z]{2}[1-9]\d-[A-Z]{2}[1-9]\d{3}", "decoy"),
        ("٠١٢٣٤٥", r"٠[٠-٩]{5}", "decoy"),
        ("v12@anna.invalid", r"[a-z][1-9]\d@[a-z]{4}\.[a-z]{7}", "decoy_word"),
        ("7 Ruzdar Lane", r"[1-9] [A-Z][a-z]{5} [A-Z][a-z]{3}", "decoy_word"),
        ("Quellmar", r"[A-Z][a-z]{7}", "decoy_word"),
        ("Москва", r"[\u0400-\u04ff]{6}", "decoy_word"),
        ("باريس", r"[\u0600-\u06ff]{5}", "decoy_word"),
        ("北京市", r"[\u4e00-\u9fff]{3}", "decoy_word"),
    ],
)
def test_a_thousand_of_the_same_format(value, pattern, form):
    record = qa("What is it?", value)
    found = decoys(record)
    assert found.form == form
    assert len(found.values) == 1000
    assert all(re.fullmatch(pattern, text) for text in texts(record))
    assert value not in texts(record)
    assert len(set(texts(record))) == 1000
    assert "record 3" in str(found.values[0])


def test_seed_and_record_alone_decide():
    record = qa(ASKED, "It is 555-123-4567.")
    assert texts(record, count=20) == texts(qa(ASKED, "It is 555-123-4567.", index=9), count=20)
    assert texts(record, count=20) != texts(record, count=20, seed=1)
    assert texts(record, count=20) != texts(qa("Which is it?", "It is 555-123-4567."), count=20)


def test_a_small_format_has_what_it_has():
    assert sorted(texts(qa(ASKED, "It is 7."))) == list("12345689")
    assert texts(qa("Anna?", "Anna.")) == []


def other(value: str, *asked: str) -> Other:
    return Other(value, frozenset(asked))


def test_what_never_changes_in_a_format_is_kept():
    record = qa(ASKED, "It is 555-123-4567.")
    alike = [other(f"555-{number}00-4000") for number in range(1, 6)]
    assert all(text.startswith("555-") for text in texts(record, others=alike))
    assert not all(text.startswith("555-") for text in texts(record, others=alike[:4]))
    assert not all(text.startswith("555-") for text in texts(record, others=[*alike, other("556-100-4000")]))


def test_words_come_from_values_that_answer_a_like_question():
    record = qa("Where does Anna live?", "Anna lives in Quellmar.", "Anna")
    towns = [qa("Where does Berta live?", f"Berta lives in Town{chr(97 + n)}x.", "Berta") for n in range(25)]
    others = [other_of(one) for one in towns]
    found = decoys(record, others=others)
    assert found.form == "decoy_value"
    assert sorted(value.reveal() for value in found.values) == sorted(one.value for one in others)
    assert decoys(record, others=others[:18]).form == "decoy_word"  # too few for any p below 0.05
    jobs = [other(one.value, "which", "trade", "learnt") for one in others]
    assert decoys(record, others=jobs).form == "decoy_word"
    shouted = [other(one.value.upper(), *one.asked) for one in others]
    assert decoys(record, others=shouted).form == "decoy_word"


def test_parts_of_addresses_come_from_other_addresses():
    record = qa(ASKED, "vera12@anna.invalid")
    alike = [other(f"wim{chr(97 + n)}{n}@host{chr(97 + n)}.invalid") for n in range(25)]
    found = decoys(record, others=alike)
    assert found.form == "decoy_value"
    assert all(re.fullmatch(r"wim[a-y]\d\d@host[a-y]\.invalid", value.reveal()) for value in found.values)


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=14), st.integers(0, 3))
def test_any_value(value, seed):
    for record in (qa("?", value), plain(value)):
        own = other_of(record)
        found = texts(record, count=30, seed=seed)
        assert len(set(found)) == len(found)
        assert own is None or own.value not in found
        if own is not None:
            sizes = [len(part.text) for part in segments(own.value) if part.kind == "signs"]
            for text in found:
                assert [len(part.text) for part in segments(text) if part.kind == "signs"] == sizes
                assert [part for part in skeleton(segments(text)) if part == "0"] == [
                    part for part in skeleton(segments(own.value)) if part == "0"
                ]
