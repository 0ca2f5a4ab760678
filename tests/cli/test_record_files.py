"""Files of records on the command line: what is refused, with which words, before any model is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from expunge.cli import main

CANARY = "zq9canary"
USAGE = 2


def write(folder: Path, items: Sequence[object], name: str = "forget.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(json.dumps(item) for item in items) + "\n")
    return path


def qa(number: int) -> dict[str, object]:
    return {"question": f"Where does {CANARY} {number} live?", "answer": f"In {CANARY}."}


def refused(capsys, forget: Path, *more: str) -> str:
    """What ``plan`` says when it refuses a file; there is no model, and none is looked for."""
    code = main(["plan", "no-model", "--method", "gradient_ascent", "--forget", str(forget), *more])
    said = "".join(capsys.readouterr())
    assert code == USAGE
    assert CANARY not in said
    return " ".join(said.split())


CHAT = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


@pytest.mark.parametrize(
    ("item", "named"),
    [
        ({**qa(0), "text": f"{CANARY} 0"}, '{"text"} and {"question", "answer"}'),
        ({"prompt": "a", "completion": "b", "text": CANARY}, '{"text"} and {"prompt", "completion"}'),
        ({"messages": CHAT, "text": CANARY}, '{"text"} and {"messages"}'),
        ({**qa(0), "messages": CHAT}, '{"question", "answer"} and {"messages"}'),
        ({"question": CANARY, "answer": "", "text": CANARY}, '{"text"} and {"question", "answer"}'),
    ],
)
def test_two_shapes_in_a_record_are_refused_by_name(tmp_path, capsys, item, named):
    said = refused(capsys, write(tmp_path, [qa(0), item]))
    assert f"Line 2 of the forget file has more than one shape: {named}." in said
    assert "Remove" in said


def test_two_shapes_are_refused_in_a_table_too(tmp_path, capsys):
    path = tmp_path / "forget.csv"
    path.write_text(f"question,answer,text\na,b,{CANARY}\n")
    assert "Line 2 of the forget file has more than one shape" in refused(capsys, path)


def test_an_empty_second_shape_is_no_shape(tmp_path, capsys):
    forget = write(tmp_path, [{**qa(0), "text": "", "messages": None}])
    assert "local model folder" in refused(capsys, forget)  # the file is accepted; the model is not there
