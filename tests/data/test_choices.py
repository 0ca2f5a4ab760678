"""Options found in prompts, and one record for each."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.benchmarks.fictional.phrases import CHOICE
from expunge.data.choices import OptionTexts, OtherLetters, Permuted, RivalTexts, read_choice
from expunge.data.record import Message, Record, Variant
from expunge.storage.secret import Secret

INLINE = "Where does Ada live? A: Oslo, B: Rome, C: Bern, D: Kyiv"
LINES = "Where does Ada live?\nA. Oslo\nB. Rome\nC. Bern\nAnswer:"


def record(prompt: str, answer: str, kind: str = "qa") -> Record:
    return Record(index=0, split="forget", kind=kind, prompt=Secret(prompt, "p"), answer=Secret(answer, "a"))


def texts(records) -> list[tuple[str, str]]:
    return [(one.prompt.reveal(), one.answer.reveal()) for one in records]


def test_the_right_letter_comes_first_and_no_end_is_scored():
    found = OtherLetters().apply(record(INLINE, "C"), ())
    assert texts(found) == [(INLINE, letter) for letter in "CABD"]
    assert all(one.goes_on for one in found)


def test_every_option_stands_at_every_letter_once_and_the_right_letter_moves_with_it():
    found = texts(Permuted().apply(record(INLINE, "B"), ()))
    assert len(found) == 16
    assert [found[4 * shift][1] for shift in range(4)] == ["B", "C", "D", "A"]
    assert found[4][0] == "Where does Ada live? A: Kyiv, B: Oslo, C: Rome, D: Bern"
    for shift in range(4):
        prompt, letter = found[4 * shift]
        assert f"{letter}: Rome" in prompt
        assert sorted(letter for _, letter in found[4 * shift : 4 * shift + 4]) == list("ABCD")


def test_lines_keep_what_stands_after_the_options():
    found = texts(Permuted().apply(record(LINES, " A", "completion"), ()))
    assert found[3] == ("Where does Ada live?\nA. Bern\nB. Oslo\nC. Rome\nAnswer:", " B")
    assert texts(OptionTexts().apply(record(LINES, " B", "completion"), ())) == [
        ("Where does Ada live?\nAnswer:", " Rome"),
        ("Where does Ada live?\nAnswer:", " Oslo"),
        ("Where does Ada live?\nAnswer:", " Bern"),
    ]


def test_texts_without_letters():
    assert texts(OptionTexts().apply(record(INLINE, "D"), ())) == [
        ("Where does Ada live?", text) for text in ("Kyiv", "Oslo", "Rome", "Bern")
    ]


def test_without_the_question_only_the_options_are_left():
    assert texts(OtherLetters(question=False).apply(record(INLINE, "A"), ()))[0] == (
        "A: Oslo, B: Rome, C: Bern, D: Kyiv",
        "A",
    )
    assert texts(OptionTexts(question=False).apply(record(INLINE, "A"), ()))[0] == ("", "Oslo")


def test_a_conversation_asks_in_its_last_turn():
    turns = tuple(Message(role=role, content=Secret(text, "m")) for role, text in (("system", "Hi."), ("user", INLINE)))
    one = Record(index=0, split="forget", kind="messages", messages=turns, answer=Secret("(B)", "a"))
    moved = Permuted().apply(one, ())[4]
    assert moved.messages[0] == turns[0]
    assert "C: Rome" in moved.messages[1].content.reveal()
    assert moved.answer.reveal() == "(C)"


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [("Where does Ada live?", "A"), (INLINE, "E"), (INLINE, "Rome"), ("Who? A: Ada", "A"), (INLINE, "")],
)
def test_what_is_no_choice_gives_nothing(prompt, answer):
    for change in (OtherLetters(), Permuted(), OptionTexts()):
        assert change.apply(record(prompt, answer), ()) == ()


def test_a_question_that_speaks_of_a_letter():
    found = read_choice("What is vitamin A: food? (A) yes (B) no")
    assert found.options == ("yes", "no")
    assert read_choice("Of vitamin A: which? A: one, B: two").options == ("one", "two")


@given(st.lists(st.text("abcde ,.", min_size=1).map(str.strip).filter(lambda text: text.strip(",; ") == text != ""),
                min_size=4, max_size=4))  # fmt: skip
def test_the_options_of_our_own_benchmark_are_found(options):
    found = read_choice(CHOICE.format(question="Who?", options=options))
    assert list(found.options) == options
    assert found.prompt(options) == CHOICE.format(question="Who?", options=options)


def people(count: int) -> list[Record]:
    """One question in two wordings about towns, and one about trades, each with options that nobody else has."""
    found = []
    for row in range(count):
        about = "trade" if row % 3 == 2 else "town"
        asked = f"What is the {about} of Person{row}? A: other{row}, B: {about}{row}, C: wrong{row}"
        variant = Variant(prompt=Secret(asked, "x"), answer=Secret("B", "x"))
        whom = Secret(f"Person{row}", "x")
        found.append(
            Record(
                index=row, split="forget", kind="qa", prompt=whom, answer=whom, subject=whom,
                variants={"multiple_choice": (variant,)},
            )
        )  # fmt: skip
    return found


def rivals(records: list[Record], row: int) -> list[str]:
    (form,) = records[row].forms("multiple_choice")
    return [one.answer.reveal() for one in RivalTexts().apply(form, records)]


def test_rivals_are_the_right_options_of_others_who_are_asked_the_like():
    records = people(9)
    assert rivals(records, 0) == ["town0", "town1", "town3"]
    assert rivals(records, 7) == ["town7", "town0", "town1"]  # from the record on, and round
    assert rivals(records, 2) == ["trade2", "trade5", "trade8"]
    assert [one.prompt.reveal() for one in RivalTexts().apply(*_first(records))] == ["What is the town of Person0?"] * 3


def test_a_record_without_rivals_keeps_its_options():
    records = people(3)
    assert rivals(records, 2) == ["trade2", "other2", "wrong2"]
    assert rivals(records, 0) == ["town0", "town1"]  # fewer where there are no more


def test_a_rival_is_neither_of_the_same_subject_nor_the_right_option():
    records = people(6)
    records[1] = replace(records[1], subject=records[0].subject)
    (same,) = records[3].variants["multiple_choice"]
    text = same.prompt.reveal().replace("town3", "Town0")
    records[3] = replace(records[3], variants={"multiple_choice": (replace(same, prompt=Secret(text, "x")),)})
    assert rivals(records, 0) == ["town0", "town4"]


def _first(records: list[Record]) -> tuple[Record, list[Record]]:
    return records[0].forms("multiple_choice")[0], records
