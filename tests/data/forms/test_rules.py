"""Every rule by hand, and where it makes no sense."""

from __future__ import annotations

import pytest

from expunge.data.forms.cloze import cloze
from expunge.data.forms.prefix import prefix
from expunge.data.forms.question import casing, truncation
from expunge.data.forms.reverse import reverse
from tests.data.forms.records import completion, plain, qa, shown, talk

ASKED = "Where does Anna live?"


@pytest.mark.parametrize(
    ("record", "variants"),
    [
        (qa(ASKED, "Anna lives in Paris today."), [("Anna lives in ____ today.", None, "Paris")]),
        (talk(ASKED, "Anna lives in Paris."), [("Anna lives in ____.", None, "Paris")]),
        (completion("So Anna lives in", " Paris."), [("So Anna lives in ____.\n", None, "Paris")]),
        (plain("Who? Call 555-0199 now. Or not."), [("Call ____ now.", None, "555-0199")]),
        (qa("安娜住在哪里？", "安娜住在北京。"), [("安娜住在____。", None, "北京")]),
        (qa(ASKED, "Paris."), []),
        (plain("nothing here"), []),
    ],
)
def test_cloze(record, variants):
    assert shown(cloze(record)) == variants


@pytest.mark.parametrize(
    ("record", "variants"),
    [
        (qa(ASKED, "Anna lives in Paris.", "Anna"), [("____ lives in Paris.", None, "Anna")]),
        (qa(ASKED, "In Paris.", "Anna"), [("Where does ____ live? In Paris.", None, "Anna")]),
        (qa(ASKED, "In Paris.", "anna"), [("Where does ____ live? In Paris.", None, "anna")]),
        (qa("Where does Annabel live?", "In Paris.", "Anna"), []),
        (qa("安娜住在哪里？", "安娜住在北京。", "安娜"), [("____住在北京。", None, "安娜")]),
        (completion("Anna lives in", " Paris.", "Anna"), [("____ lives in Paris.\n", None, "Anna")]),
        (plain("Call Anna under 555-0199.", "Anna"), [("Call ____ under 555-0199.", None, "Anna")]),
        (qa(ASKED, "Anna lives in Paris."), []),
        (qa("Who lives here?", "Anna.", "Anna"), []),
        (qa("Where does she live?", "In Paris.", "Anna"), []),
    ],
)
def test_reverse(record, variants):
    assert shown(reverse(record)) == variants


def test_prefix_gives_a_quarter_half_and_three_quarters_of_the_words():
    text = "one two three four five six seven eight"
    assert shown(prefix(plain(text))) == [
        (None, "one two ", "three four five six seven eight"),
        (None, "one two three four ", "five six seven eight"),
        (None, "one two three four five six ", "seven eight"),
    ]


def test_prefix_stops_before_the_value_is_out():
    record = qa(ASKED, "oh well, Paris is where Anna lives.")
    assert shown(prefix(record)) == [(ASKED, "oh well, ", "Paris is where Anna lives.")]


@pytest.mark.parametrize(
    ("record", "cuts"),
    [
        (qa(ASKED, "Anna lives in Paris."), [("Anna ", "lives in Paris."), ("Anna lives ", "in Paris.")]),
        (talk(ASKED, "Anna lives in Paris."), [("Anna ", "lives in Paris."), ("Anna lives ", "in Paris.")]),
        (completion("Anna lives", " in Paris."), [(" in ", "Paris.")]),
        (qa("安娜在哪里？", "住北京。"), [("住", "北京。"), ("住北", "京。")]),
        (qa(ASKED, "Paris."), []),
        (talk("be brief", "Anna lives in Paris.", roles=("system",)), []),
    ],
)
def test_prefix_of_every_shape(record, cuts):
    found = [(given, answer) for _, given, answer in shown(prefix(record))]
    assert found[: len(cuts)] == cuts
    assert bool(found) == bool(cuts)
    assert all(given + answer == record.answer.reveal() for given, answer in found)


def test_casing():
    assert shown(casing(qa(ASKED, "Paris."))) == [(ASKED.upper(), None, "Paris."), (ASKED.lower(), None, "Paris.")]
    assert [prompt for prompt, _, _ in shown(casing(qa("where?", "Paris.")))] == ["WHERE?"]
    assert casing(qa("安娜在哪里？", "北京")) == casing(plain("Paris.")) == ()


@pytest.mark.parametrize(
    ("record", "prompt"),
    [
        (qa("Where does she live now?", "Paris."), "Where does she live"),
        (qa("In which of all towns does Anna live now?", "x", "Anna"), "In which of all towns does Anna"),
        (qa("What is the name of Anna?", "x", "Anna"), None),
        (qa("What is the name of Anna?", "x", "Berta"), "What is the name of"),
        (qa("她现在住在哪里？", "北京"), "她现在住在哪"),
        (qa("Where is she?", "x"), None),
        (plain("one two three four five"), None),
    ],
)
def test_truncation(record, prompt):
    assert [one[0] for one in shown(truncation(record))] == ([] if prompt is None else [prompt])
