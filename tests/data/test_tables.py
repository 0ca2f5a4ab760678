"""Tables as programs export them: headers in any case, other delimiters, lists in cells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from expunge.data.reader import ReadResult, read_records
from expunge.errors import InputError


def read(folder: Path, text: str, name: str = "forget.csv") -> ReadResult:
    path = folder / name
    path.write_text(text)
    return read_records(path, "forget")


def pairs(result: ReadResult) -> list[tuple[str, str]]:
    return [(record.prompt.reveal() if record.prompt else "", record.answer.reveal()) for record in result.records]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("forget.csv", "Question,Answer\na,b; c\n"),
        ("forget.csv", "QUESTION ; answer\na;b; c\n".replace("b; c", '"b; c"')),
        ("forget.csv", "question\tanswer\na\tb; c\n"),
        ("forget.tsv", "Question\tAnswer\na\tb; c\n"),
        ("forget.tsv", "question,answer\na,b; c\n"),
        ("forget.jsonl", json.dumps({"Question": "a", "ANSWER": "b; c"})),
    ],
)
def test_headers_and_delimiters(tmp_path, name, text):
    result = read(tmp_path, text, name)
    assert pairs(result) == [("a", "b; c")]
    assert result.rejected == []


def test_a_comma_stays_the_delimiter_where_a_header_has_one_field(tmp_path):
    assert pairs(read(tmp_path, "text\na; b\tc\n")) == [("", "a; b\tc")]


def test_two_columns_for_one_field_are_refused(tmp_path):
    with pytest.raises(InputError, match="a column twice"):
        read(tmp_path, "Question,question,answer\na,b,c\n")
    result = read(tmp_path, '{"text": "a"}\n{"text": "a", "Text": "b"}\n', "forget.jsonl")
    assert result.rejected == [(2, "two columns for text")]


def test_a_list_in_a_cell_is_a_list(tmp_path):
    text = 'question,answer,Perturbed Answer\na,b,"[""c"", ""d""]"\na,b,c\na,b,"[""c"", d]"\na,b,[]\n'
    result = read(tmp_path, text)
    wrong = [[answer.reveal() for answer in record.perturbed_answers] for record in result.records]
    assert wrong == [["c", "d"], ["c"], []]
    assert result.rejected == [(4, 'perturbed_answer starts with [ and is not valid JSON, such as ["a", "b"]')]


def test_messages_and_forms_in_a_cell(tmp_path):
    chat = json.dumps([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    forms = json.dumps({"reverse": {"question": "c", "answer": "d"}})
    cells = ";".join('"' + cell.replace('"', '""') + '"' for cell in (chat, forms))
    record = read(tmp_path, f"messages;forms\n{cells}\n").records[0]
    assert record.kind == "messages"
    assert record.variants["reverse"][0].answer.reveal() == "d"


def test_a_blank_row_is_no_record(tmp_path):
    result = read(tmp_path, "question,answer\na,b\n,\n  ,\nc,d\n")
    assert len(result.records) == 2
    assert result.rejected == []


CHOSEN = {"question": "prompt", "answer": "Response text"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("forget.csv", "prompt;Response text;answer;text\na;b;c;d\n"),
        ("forget.jsonl", json.dumps({"prompt": "a", "Response text": "b", "answer": "c", "text": "d"})),
    ],
)
def test_chosen_columns_take_the_place_of_those_named_as_the_field(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    result = read_records(path, "forget", columns=CHOSEN)
    assert [record.kind for record in result.records] == ["qa"]
    assert pairs(result) == [("a", "b")]


def test_chosen_columns_without_a_shape_leave_the_shape_alone(tmp_path):
    path = tmp_path / "forget.csv"
    path.write_text("text,person\na,b\n")
    record = read_records(path, "forget", columns={"subject": "person"}).records[0]
    assert (record.kind, record.subject and record.subject.reveal()) == ("text", "b")


def test_no_column_is_named_where_a_table_has_no_header(tmp_path):
    path = tmp_path / "forget.csv"
    path.write_text("Arlo Venk,Mirrow\nBina Tosk,Caldane\n")
    with pytest.raises(InputError, match="no column 'prompt' among its 2") as caught:
        read_records(path, "forget", columns={"question": "prompt"})
    assert "Arlo" not in str(caught.value)
    assert "Mirrow" not in str(caught.value)
