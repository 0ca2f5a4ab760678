"""Other texts of the same record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from expunge.data.record import Message, Record
from expunge.data.transforms import AfterOthers, Lowercase, WordDropout
from expunge.errors import InputError
from expunge.storage.secret import Secret


def secret(text: str) -> Secret:
    return Secret(text, "forget record 0")


RECORD = Record(
    index=0,
    split="forget",
    kind="completion",
    prompt=secret("Where does Ada LIVE?"),
    answer=secret(" In the City of Rome"),
    given=secret("Well,"),
)
OTHERS = [
    replace(RECORD, index=number, split="holdout", prompt=secret(f"Q{number}"), answer=secret(f"A{number}"))
    for number in range(3)
]


def test_lower_case_of_everything_that_is_read():
    (changed,) = Lowercase().apply(RECORD, ())
    assert (changed.prompt.reveal(), changed.given.reveal()) == ("where does ada live?", "well,")
    assert changed.answer.reveal() == " in the city of rome"
    talk = replace(RECORD, kind="messages", prompt=None, messages=(Message(role="user", content=secret("HI")),))
    assert Lowercase().apply(talk, ())[0].messages[0].content.reveal() == "hi"


def test_neighbours_lack_words_and_are_the_same_every_time():
    neighbours = WordDropout(copies=6, share=0.4).apply(RECORD, ())
    words = RECORD.answer.reveal().split()
    assert len(neighbours) == 6
    for one in neighbours:
        kept = one.answer.reveal()
        assert kept.startswith(" ")
        assert len(kept.split()) == 3  # of five, two go
        remaining = iter(words)
        assert all(word in remaining for word in kept.split())  # in their order
        assert one.prompt == RECORD.prompt
    assert len({one.answer for one in neighbours}) > 1
    assert neighbours == WordDropout(copies=6, share=0.4).apply(RECORD, ())
    assert neighbours != WordDropout(copies=6, share=0.4, seed=1).apply(RECORD, ())
    assert WordDropout().apply(RECORD.with_answer("Rome"), ()) == ()


@pytest.mark.parametrize("settings", [{"copies": 0}, {"share": 0.0}, {"share": 1.0}])
def test_neighbours_that_cannot_be(settings):
    with pytest.raises(InputError, match="share"):
        WordDropout(**settings)


def test_others_stand_before_and_never_the_record_itself():
    (changed,) = AfterOthers(count=2).apply(RECORD, OTHERS)
    assert changed.prompt.reveal() == "Q0 A0\n\nQ1 A1\n\nWhere does Ada LIVE?"
    assert changed.answer == RECORD.answer
    (own,) = AfterOthers(count=2).apply(OTHERS[0], OTHERS)
    assert own.prompt.reveal() == "Q1 A1\n\nQ2 A2\n\nQ0"
    related = [replace(one, subject=secret("Ada")) for one in OTHERS[:2]]
    (alone,) = AfterOthers(count=2).apply(replace(RECORD, subject=secret("Ada")), [*related, OTHERS[2]])
    assert alone.prompt.reveal() == "Q2 A2\n\nWhere does Ada LIVE?"  # what is said of the same subject may answer it
    plain = replace(RECORD, kind="text", prompt=None, given=None)
    assert AfterOthers(count=1).apply(plain, OTHERS)[0].given.reveal() == "Q0 A0\n\n"
    assert AfterOthers().apply(RECORD, ()) == ()


def test_the_label_has_every_setting():
    assert AfterOthers(count=2).label == "after_others(split=holdout, count=2)"
    assert AfterOthers(split="retain").reads == "retain"
    assert WordDropout().label == "word_dropout(copies=8, share=0.2, seed=0)"
    assert Lowercase().reads is None
