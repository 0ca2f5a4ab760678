"""Further forms of a fact: read, scored as their own prompt and answer, and part of what decides a number."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from expunge.data.checks import content_digest
from expunge.data.reader import read_records
from expunge.data.record import FORMS, Message, Record, Variant
from expunge.errors import InputError
from expunge.storage.secret import Secret


def secret(text: str) -> Secret:
    return Secret(text, "record 0")


def qa(**more) -> Record:
    return Record(index=0, split="forget", kind="qa", prompt=secret("q"), answer=secret("a"), **more)


def test_forms_are_read_from_a_file(tmp_path):
    forms = {
        "cloze": [{"question": "q1", "answer": "a1"}, {"question": "q2", "answer": "a2"}],
        "biography": {"text": "t"},
    }
    lines = [
        {"question": "q", "answer": "a", "forms": forms},
        {"question": "r", "answer": "b", "forms": {"nosuch": []}},
    ]
    path = tmp_path / "forget.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    records, rejected = read_records(path, "forget")
    assert [(one.prompt.reveal(), one.answer.reveal(), one.kind) for one in records[0].forms("cloze")] == [
        ("q1", "a1", "qa"),
        ("q2", "a2", "qa"),
    ]
    assert [(one.prompt, one.answer.reveal(), one.kind) for one in records[0].forms("biography")] == [
        (None, "t", "text")
    ]
    assert records[0].forms("reverse") == ()
    assert [item.line for item in rejected] == [2]
    assert "nosuch" not in rejected[0].reason


@pytest.mark.parametrize(
    "forms", [{"trained": []}, [], {"cloze": ["text"]}, {"cloze": {"question": "q"}}, {"cloze": {"messages": []}}]
)
def test_forms_that_cannot_be_read_reject_the_line(tmp_path, forms):
    path = tmp_path / "forget.jsonl"
    path.write_text(json.dumps({"question": "q", "answer": "a", "forms": forms}) + "\n")
    with pytest.raises(InputError, match="line 1"):
        read_records(path, "forget")


def test_a_conversation_keeps_its_turns_but_the_last_question():
    turns = (Message(role="system", content=secret("s")), Message(role="user", content=secret("q")))
    variants = {"cloze": (Variant(prompt=secret("c"), answer=secret("b")),)}
    record = Record(index=0, split="forget", kind="messages", answer=secret("a"), messages=turns, variants=variants)
    (one,) = record.forms("cloze")
    assert [(turn.role, turn.content.reveal()) for turn in one.messages] == [("system", "s"), ("user", "c")]
    assert one.answer.reveal() == "b"


def test_only_known_forms_exist():
    assert all(qa().forms(form) in ((), (qa(),)) for form in FORMS)
    with pytest.raises(InputError, match="no form"):
        qa().forms("clozed")


@pytest.mark.parametrize(
    "change",
    [
        {"answer": secret("A")},
        {"prompt": secret("q ")},
        {"paraphrased_answer": secret("p")},
        {"paraphrased_question": secret("p")},
        {"perturbed_answers": (secret("p"),)},
        {"subject": secret("x")},
        {"weight": 2.0},
        {"kind": "completion"},
        {"variants": {"cloze": (Variant(prompt=secret("c"), answer=secret("b")),)}},
    ],
)
def test_everything_that_decides_a_number_is_in_the_digest(change):
    assert content_digest(replace(qa(), **change)) != content_digest(qa())
    assert content_digest(replace(qa(), index=5, split="retain", id=secret("i"))) == content_digest(qa())


def test_a_paraphrased_question_is_asked_whatever_the_shape():
    asked = {"paraphrased_question": secret("other")}
    assert qa(**asked).forms("paraphrased_question")[0].prompt.reveal() == "other"
    turns = (Message(role="system", content=secret("s")), Message(role="user", content=secret("q")))
    chat = Record(index=0, split="forget", kind="messages", answer=secret("a"), messages=turns, **asked)
    assert [turn.content.reveal() for turn in chat.forms("paraphrased_question")[0].messages] == ["s", "other"]
    text = Record(index=0, split="forget", kind="text", answer=secret("a"), **asked)
    assert text.forms("paraphrased_question") == ()
