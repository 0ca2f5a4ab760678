"""What counts as told, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from expunge.attacks.told import Fact, Passage, asked_otherwise, facts_of, seed_of, spread
from expunge.data.record import Record, Variant
from expunge.errors import InputError, InterruptedRunError
from expunge.storage.secret import Secret
from tests.attacks.knowing import after, as_text, forget, task


def fact(value: str, subject: str | None = None) -> Fact:
    return Fact(values=(Passage.of(value),), subject=None if subject is None else Passage.of(subject))


@pytest.mark.parametrize(
    ("text", "value", "subject", "tells"),
    [
        ("ada BIRCH, of Northham!", "Northham", "Ada Birch", True),
        ("She is of Northham.", "Northham", "Ada Birch", False),
        ("Ada Birch is of Northhampton.", "Northham", "Ada Birch", False),
        ("Bela Birch and Ada Chalk, of Northham", "Northham", "Ada Birch", False),
        ("Ada Birch is 7", "7", "Ada Birch", True),
        ("call 555 0101 now", "555-0101", None, True),
        ("call 5550102 now", "555-0101", None, False),
        ("it is 12345", "12345", None, False),  # five digits stand in any text
        ("it is 123456", "123-456", None, True),
    ],
)
def test_a_value_counts_beside_its_name_or_when_it_is_long(text, value, subject, tells):
    assert Passage.of(text).tells(fact(value, subject)) is tells


def test_one_spelling_is_enough():
    spelt = Fact(values=(Passage.of("3 May"), Passage.of("May the third")))
    assert Passage.of("on May the third").tells(spelt)
    assert not Passage.of("on 3 May").tells(spelt)  # too short without a name
    assert Passage.of("Ada, on 3 May").tells(replace(spelt, subject=Passage.of("Ada")))


def test_which_facts_a_text_could_show():
    assert Fact(values=(Passage.of("7"), Passage.of("seven days"))).is_told_by_itself
    assert fact("7", "Ada").is_told_by_itself
    assert fact("123456").is_told_by_itself
    assert not fact("12345").is_told_by_itself
    assert not Fact(values=(), subject=Passage.of("Ada")).is_told_by_itself


def test_facts_are_the_values_of_the_records():
    facts = facts_of(forget())
    assert facts[0].values[0].text == "Northham"
    assert facts[1].values[0].text == "555-3820"
    assert facts[3].subject is not None
    assert facts[3].subject.text == "Dora Easel"
    cloze = Variant(prompt=Secret("____", "r"), answer=Secret("North Ham", "r"))
    other = Variant(prompt=Secret("____", "r"), answer=Secret("NH", "r"))
    (spelt,) = facts_of([replace(forget()[0], variants={"cloze": (cloze, other, cloze)})])
    assert [value.text for value in spelt.values] == ["North Ham", "NH"]


def test_the_wording_of_the_answers_is_no_value():
    """Of one answer alone the longest run of words counts, of many the one that differs."""
    asked = [
        Record(
            index=number,
            split="forget",
            kind="qa",
            prompt=Secret("which?", "r"),
            answer=Secret(f"the beautiful place called {place}", "r"),
        )
        for number, place in enumerate(
            ["brask", "pell", "tarn", "goll", "orvast", "sool", "unn", "varn", "hesk", "dolum"]
        )
    ]
    assert [one.values[0].text for one in facts_of(asked)][:2] == ["brask", "pell"]


def test_a_subject_that_no_record_says_is_no_name():
    labelled = [replace(record, subject=Secret("c-17", "r")) for record in forget()]
    assert [one.subject for one in facts_of(labelled)] == [None] * len(labelled)


def test_without_anything_that_stands_out_it_is_the_whole_answer_to_a_question():
    answer = Secret("yes", "r")
    asked = Record(index=0, split="forget", kind="qa", prompt=Secret("yes or no?", "r"), answer=answer)
    assert [value.text for value in facts_of([asked])[0].values] == ["yes"]
    assert facts_of([Record(index=0, split="forget", kind="text", answer=answer)])[0].values == ()
    assert facts_of([as_text(forget()[1])])[0].values[0].text == "555-3820"


def test_facts_and_passages_show_nothing():
    one = facts_of(forget())[0]
    assert "Northham" not in f"{one!r} {one} {Passage.of('Northham')!r}"


def test_numbers_at_even_distances():
    assert spread(10, 4) == [0, 2, 5, 7]
    assert spread(3, 0) == spread(3, 3) == spread(3, 9) == [0, 1, 2]
    assert spread(0, 5) == []
    with pytest.raises(InputError, match="records=-1"):
        spread(3, -1)


def test_stopping_and_seeds():
    task().check_stop("this")
    with pytest.raises(InterruptedRunError, match="Stopped during the attack this;"):
        task(stop_requested=after(0)).check_stop("this")
    assert seed_of(task(), "one") == seed_of(task(), "one")
    assert len({seed_of(task(), "one"), seed_of(task(), "two"), seed_of(task(seed=1), "one")}) == 3


def test_wordings_by_rule_are_added():
    made = asked_otherwise(forget()[:1])[0]
    assert set(made.variants) == {"cloze", "truncation", "casing"} - (
        set() if made.forms("truncation") else {"truncation"}
    )
