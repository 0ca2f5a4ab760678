"""Files of records on the command line: what is refused, with which words, before any model is read."""

from __future__ import annotations

import json
import os
import socket
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
    assert "--columns" in said


def test_two_shapes_are_refused_in_a_table_too(tmp_path, capsys):
    path = tmp_path / "forget.csv"
    path.write_text(f"question,answer,text\na,b,{CANARY}\n")
    assert "Line 2 of the forget file has more than one shape" in refused(capsys, path)


def test_an_empty_second_shape_is_no_shape(tmp_path, capsys):
    forget = write(tmp_path, [{**qa(0), "text": "", "messages": None}])
    assert "local model folder" in refused(capsys, forget)  # the file is accepted; the model is not there


VERBS = {
    "plan": ("plan", "no-model", "--method", "gradient_ascent"),
    "unlearn": ("unlearn", "no-model", "--method", "gradient_ascent", "--out", "{out}"),
    "audit": ("audit", "no-model", "--original", "no-model", "--out", "{out}"),
    "bench": ("bench", "no-model", "--methods", "gradient_ascent", "--out", "{out}"),
    "prepare": ("prepare", "{retain}", "--out", "{out}"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_forget_file_with_a_rejected_line_is_refused(tmp_path, capsys, verb):
    forget = write(tmp_path, [qa(0), {**qa(1), "answer": ""}, qa(2), {"question": CANARY}])
    retain = write(tmp_path, [{"question": f"q{number}", "answer": f"a{number}"} for number in range(3)], "r.jsonl")
    places = {"out": str(tmp_path / "out"), "retain": str(retain)}
    line = [word.format(**places) for word in VERBS[verb]] + ["--forget", str(forget)]
    assert main(line) == USAGE
    said = " ".join("".join(capsys.readouterr()).split())
    assert "2 of 4 records of the forget file cannot be read (line 2: answer is empty; line 4: none of" in said
    assert "--allow-rejected" in said
    assert CANARY not in said
    assert not (tmp_path / "out").exists()
    code = main([*line, "--allow-rejected"])
    said = " ".join("".join(capsys.readouterr()).split())
    assert "cannot be read (line" not in said
    assert code == (0 if verb == "prepare" else USAGE)  # the others then look for the model


def special(folder: Path, kind: str) -> Path:
    path = folder / "forget.jsonl"
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(path))  # the whole path may be too long for a socket
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a device", "a folder"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, capsys, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    assert f"The forget file is {kind}, not a regular file" in refused(capsys, special(tmp_path, kind))


def test_a_pipe_of_names_is_refused_at_once(tmp_path, capsys):
    data = write(tmp_path, [qa(0)], "data.jsonl")
    os.mkfifo(tmp_path / "names")
    line = ["prepare", str(data), "--subject", str(tmp_path / "names"), "--out", str(tmp_path / "out")]
    assert main(line) == USAGE
    assert "The name file is a named pipe" in "".join(capsys.readouterr())


def accepted(capsys, forget: Path, *more: str) -> None:
    """The file is read, and only the model is not there."""
    assert "local model folder" in refused(capsys, forget, *more)


def test_columns_choose_one_of_two_shapes(tmp_path, capsys):
    accepted(capsys, write(tmp_path, [{**qa(0), "text": CANARY}]), "--columns", "question=question,answer=answer")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("question=prompt,answer=respons", "no column 'respons' among its 3. Did you mean 'response'?"),
        ("questoin=prompt,answer=response", "'questoin'. Did you mean 'question'"),
        ("question", "--columns takes field=column"),
        ("question=prompt,question=text", "names the field 'question' twice"),
        ("answer=response", "none of the shapes"),
    ],
)
def test_columns_that_are_not_there_are_refused_with_suggestions(tmp_path, capsys, columns, said):
    forget = write(tmp_path, [{"prompt": CANARY, "response": CANARY, CANARY: 1}])
    assert said in refused(capsys, forget, "--columns", columns)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_reads_chosen_columns(tmp_path, capsys, verb):
    items = [{"ask": f"q{number}", "say": f"a{number}"} for number in range(6)]
    forget, retain = write(tmp_path, items[:2]), write(tmp_path, items[2:], "r.jsonl")
    places = {"out": str(tmp_path / "out"), "retain": str(retain)}
    line = [word.format(**places) for word in VERBS[verb]] + ["--forget", str(forget)]
    assert main(line) == USAGE
    assert "No usable record" in "".join(capsys.readouterr())
    code = main([*line, "--columns", "question=ask,answer=say"])
    assert "No usable record" not in "".join(capsys.readouterr())
    assert code == (0 if verb == "prepare" else USAGE)
