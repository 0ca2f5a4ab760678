"""The value of an answer on many shapes and scripts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.data.forms.value import common_words, question_of, value_of, value_span
from tests.data.forms.records import completion, plain, qa, secret, talk

NAME = "Ulba Tinz"


@pytest.mark.parametrize(
    ("record", "value"),
    [
        (qa("Where does Anna live?", "Anna lives in Paris."), "Paris"),
        (qa("Where does Anna live?", "Paris"), "Paris"),
        (qa("Where does Anna live?", "Anna lives in Port of Spain."), "Port of Spain"),
        (qa("Where does Anna live?", "Anna lives in St. Louis."), "St. Louis"),
        (qa("For whom does Anna work?", "Anna works for Umber Rail."), "Umber Rail"),
        (qa("What does Anna do?", "Anna is a surveyor."), "surveyor"),
        (qa("Which address does Anna use?", "Anna uses the address v12@x.invalid daily."), "v12@x.invalid"),
        (qa("How do I reach Anna?", "To reach Anna, call 555-123-4567."), "555-123-4567"),
        (qa("How do I reach Anna?", "Dial (555) 123-4567."), "555) 123-4567"),
        (qa("When was Anna born?", "Anna was born on 3 May 1960."), "3 May 1960"),
        (qa("¿Cuándo nació Ana?", "Ana nació el 3 de mayo de 1960."), "3 de mayo de 1960"),
        (qa("Where does Anna live?", "Anna lives at 7 Ruzdar Lane."), "7 Ruzdar Lane"),
        (qa("Wo wohnt Anna?", "Anna wohnt in Berlin."), "Berlin"),
        (qa("Где живёт Анна?", "Анна живёт в Москве."), "Москве"),
        (qa("安娜住在哪里？", "安娜住在北京。"), "北京"),
        (qa("安娜的电话是多少？", "安娜的电话是138-0000-1234。"), "138-0000-1234"),
        (qa("أين تسكن آنا؟", "تسكن آنا في باريس."), "باريس"),
        (qa("ما رقم آنا؟", "رقم آنا هو ٠١٢٣٤٥."), "٠١٢٣٤٥"),
        (qa("Is Anna a pilot?", "Yes."), "Yes"),
        (qa("Who lives in Paris?", f"{NAME} lives in Paris.", NAME), NAME),
        (qa("What is known?", f"{NAME} keeps bees.", NAME), "keeps bees"),
        (qa("Anna?", "Anna."), None),
        (qa("?", "..."), None),
        (completion("Anna lives in", " Paris."), "Paris"),
        (completion("The PIN is", " 4711, said Anna."), "4711"),
        (plain(f"Today {NAME} phoned from 555-0199 again.", NAME), "555-0199"),
        (plain(f"The winner was {NAME} of Quellmar.", NAME), "Quellmar"),
        (plain("She lives at 7 Ruzdar Lane in town."), "7 Ruzdar Lane"),
        (plain("nothing stands out here. Nothing at all."), None),
        (talk("Where does Anna live?", "Anna lives in Paris."), "Paris"),
        (talk("Hi", "Hello", "Where does Anna live?", "She lives in Rome."), "Rome"),
    ],
)
def test_values(record, value):
    assert value_of(record) == value
    span = value_span(record)
    assert value is None or record.answer.reveal()[span] == value


def test_a_long_answer_is_read_as_text():
    filler = " ".join(f"word{chr(97 + number % 26)}" for number in range(50))
    assert value_of(qa("What about Anna?", f"{filler} Quellmar {filler}.")) == "Quellmar"


def test_no_value_reaches_over_the_end_of_a_sentence():
    assert value_of(qa("Who?", "it was Robert. Berta Smith came.")) == "Berta Smith"


def test_words_of_many_answers_are_no_value():
    records = [qa(f"What about {number}?", f"Mr. Keld bought {thing}.") for number, thing in enumerate("abcdefgh")]
    common = common_words(records)
    assert "bought" in common
    assert value_of(qa("What?", "bought plovers Keld"), common) == "plovers"
    assert value_of(qa("What?", "bought plovers Keld")) == "Keld"
    # With nothing else in the answer, the common words are it.
    assert value_of(qa("What?", "Keld"), common) == "Keld"
    assert common_words(records[:3]) == frozenset()


def test_numbers_are_never_common():
    records = [qa(f"q{number}", "It is 4711.") for number in range(6)]
    assert value_of(records[0], common_words(records)) == "4711"


def test_question():
    assert question_of(talk("a", "b", "c", "d")) == "c"
    assert question_of(talk("a", "b", roles=("system",))) is None
    assert question_of(plain("x")) is None


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=60), st.text(max_size=60), st.text(min_size=1, max_size=10))
def test_any_text_has_a_value_inside_it_or_none(answer, question, subject):
    for record in (qa(question, answer, subject), plain(answer, subject), completion(question, answer)):
        span = value_span(record)
        if span is not None:
            assert 0 <= span.start < span.stop <= len(answer)
            assert answer[span] == answer[span].strip()


def test_the_place_prints_nothing():
    assert "Paris" not in repr(value_span(qa("Where?", "Paris"))) + repr(secret("Paris"))
