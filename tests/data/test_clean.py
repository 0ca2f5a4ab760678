"""Each step of cleaning by hand, and that none of them touches what it should not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.clean import STEPS, clean, has_entity, is_mojibake
from expunge.data.reader import read_records
from expunge.data.record import Record
from expunge.data.words import secrets_of
from expunge.data.write import json_lines, row


@pytest.fixture
def make(tmp_path):
    """Records read from rows."""

    def read(*rows: dict[str, object]) -> list[Record]:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_records(path, "data").records

    return read


TEXTS = [
    ("Cafe\u0301", "Café", "nfc"),
    ("a\x00b".replace("\x00", "\x07"), "ab", "controls"),
    ("a\x0cb\x0bc\x1fd", "a\nb\nc d", "controls"),
    ("\ufeffa\ufffe\tb\r\nc", "a\tb\r\nc", "controls"),
    ("a\n \t\u3000", "a", "trailing_space"),
    ("  a  b", "  a  b", None),
    ("\u0915\u094d\u200d\u0937 \u2067x\u2069", "\u0915\u094d\u200d\u0937 \u2067x\u2069", None),  # joiners and isolates
    ("it\x92s", "it\x92s", None),  # an apostrophe of Windows-1252: removing it would join the words
]


@pytest.mark.parametrize(("text", "expected", "step"), TEXTS)
def test_steps_by_hand(make, text, expected, step):
    found = clean(make({"question": text, "answer": "x"}))
    assert found.records[0].prompt.reveal() == expected
    assert found.changed == {**dict.fromkeys(STEPS, 0), **({step: 1} if step else {})}
    if step:
        left = clean(make({"question": text, "answer": "x"}), set(STEPS) - {step})
        assert left.records[0].prompt.reveal() == text
        assert sum(left.changed.values()) == 0


def test_every_text_of_a_record_is_cleaned(make):
    rows = [
        {
            "question": "q ",
            "answer": "a ",
            "id": "i ",
            "subject": "s ",
            "paraphrased_question": "pq ",
            "paraphrased_answer": "pa ",
            "perturbed_answer": ["x ", "y"],
            "forms": {"cloze": [{"question": "c ", "answer": "d "}], "biography": [{"text": "b "}]},
        },
        {"messages": [{"role": "user", "content": "u "}, {"role": "assistant", "content": "v "}]},
    ]
    found = clean(make(*rows))
    assert found.changed["trailing_space"] == 2
    texts = [secret.reveal() for record in found.records for secret in secrets_of(record)]
    assert sorted(texts) == sorted(["q", "a", "pq", "pa", "x", "y", "c", "d", "b", "u", "v"])
    assert (found.records[0].id.reveal(), found.records[0].subject.reveal()) == ("i", "s")


def test_a_prompt_keeps_the_blank_before_its_completion(make):
    given_rows = make(
        {"prompt": "He is ", "completion": "tall \n", "forms": {"cloze": {"prompt": "p ", "completion": "c "}}}
    )
    found = clean(given_rows).records[0]
    assert (found.prompt.reveal(), found.answer.reveal()) == ("He is ", "tall")
    assert found.variants["cloze"][0].prompt.reveal() == "p "


@pytest.mark.parametrize("answer", ["\u200b", "\x07", "\ufeff", "\u0301", "\u3000\u200b"])
def test_records_without_a_visible_answer_go(make, answer):
    found = clean(make({"text": "a"}, {"question": "q", "answer": answer}, {"text": "b"}))
    assert found.changed["empty"] == 1
    assert found.rows == [0, 2]


def test_what_the_reader_would_refuse_goes_even_when_empty_is_skipped(make):
    rows = make({"question": "q", "answer": "\x07"}, {"question": "q", "answer": "\u200b"})
    assert clean(rows, ["controls"]).rows == [1]
    assert clean(rows, []).rows == [0, 1]


def test_blank_wordings_go_and_the_record_stays(make):
    row = {"question": "q", "answer": "a", "subject": "\x07", "paraphrased_answer": "\x07"}
    more = {"perturbed_answer": ["\x07", "z"], "forms": {"cloze": {"question": "\x07", "answer": "a"}}}
    found = clean(make(row | more)).records[0]
    assert (found.subject, found.paraphrased_answer, dict(found.variants)) == (None, None, {})
    assert [one.reveal() for one in found.perturbed_answers] == ["z"]


def test_answers_of_punctuation_are_answers(make):
    assert len(clean(make({"question": "q", "answer": "?"}, {"question": "q", "answer": "🙂"})).records) == 2


def test_later_records_lose_a_repeated_id(make):
    rows = make({"text": "a", "id": "x"}, {"text": "b", "id": "x "}, {"text": "c", "id": "y"}, {"text": "d"})
    found = clean(rows)
    assert [record.id and record.id.reveal() for record in found.records] == ["x", None, "y", None]
    assert found.changed["repeated_ids"] == 1


BROKEN = [
    "Ã©tÃ©",
    "donâ€™t",
    "FranÃ§ois",
    "Â£5",
    "ÐœÐ¸Ñ€",
    "ðŸ™‚",
    "it\x92s",
    "schÃ¶n",
]
WHOLE = [
    "été",
    "naïve café",
    "NÃO",
    "«ALLÉ»",
    "Москва",
    "Ünïcödé ÄÖÜ",
    "£5 – “quoted” … ™",
    "Łódź",
    "Ελληνικά",
    "日本",
    "São Paulo",
]


@pytest.mark.parametrize("text", BROKEN)
def test_mojibake_is_noticed_and_left(make, text):
    assert is_mojibake(text)
    found = clean(make({"text": text}))
    assert found.records[0].answer.reveal() == text
    assert found.noticed["mojibake"] == 1


@pytest.mark.parametrize("text", WHOLE)
def test_honest_text_is_not_mojibake(text):
    assert not is_mojibake(text)


@given(st.text(alphabet=st.characters(min_codepoint=0xA1, max_codepoint=0x24F), min_size=3))
def test_all_misread_latin_is_noticed(text):
    misread = text.encode().decode("latin-1")
    assert is_mojibake(misread)


def test_entities_and_replacement_characters(make):
    assert all(has_entity(text) for text in ("a &amp; b", "&#39;", "&#x27;", "&eacute;"))
    assert not any(has_entity(text) for text in ("a & b", "AT&T;", "&nothing;", "a&b"))
    found = clean(make({"text": "&amp;"}, {"text": "a\ufffd"}, {"text": "plain"}))
    assert found.noticed == {"mojibake": 0, "replacement_characters": 1, "html_entities": 1}
    assert [record.answer.reveal() for record in found.records] == ["&amp;", "a\ufffd", "plain"]


def test_cleaning_twice_changes_nothing_more(make):
    rows = make(*({"question": text, "answer": "x"} for text, _, _ in TEXTS))
    once = clean(rows).records
    again = clean(once)
    assert again.records == once
    assert sum(again.changed.values()) == 0


def test_what_is_given_of_an_answer_is_kept_searched_and_written(make, tmp_path):
    forms = {"prefix": {"question": "who? ", "answer": "Anna. ", "given": "It is\x07 "}}
    record = make({"question": "who?", "answer": "It is Anna.", "forms": forms})[0]
    assert "It is\x07 " in [secret.reveal() for secret in secrets_of(record)]
    cleaned = clean([record]).records[0]
    variant = cleaned.variants["prefix"][0]
    assert (variant.prompt.reveal(), variant.given.reveal(), variant.answer.reveal()) == ("who?", "It is ", "Anna.")
    path = tmp_path / "again.jsonl"
    path.write_bytes(b"".join(json_lines([row(cleaned)])))
    assert read_records(path, "data").records[0].variants == cleaned.variants
