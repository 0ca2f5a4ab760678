"""Reading a user's files: every shape, every kind of bad line, and no text in any message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.checks import check_splits
from expunge.data.reader import Limits, read_records
from expunge.errors import InputError

CANARY = "zq9canary"

GOOD = [
    ({"text": "a"}, "text"),
    ({"prompt": "a", "completion": "b"}, "completion"),
    ({"question": "a", "answer": "b", "perturbed_answer": ["c", "d"], "id": 7, "subject": "s"}, "qa"),
    ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "messages"),
]
BAD = [
    (f'{{"text": "{CANARY}', "not valid JSON"),
    (f'{{"text": "{CANARY}", "text": "b"}}', "a key occurs twice"),
    (f'{{"{CANARY}": 1}}', "none of the shapes"),
    (f'{{"question": "{CANARY}"}}', "none of the shapes"),
    ('{"text": 5}', "text is not text"),
    ('{"text": "  "}', "text is empty"),
    (f'{{"text": "{CANARY}\\u0000"}}', "NUL"),
    (f'{{"text": "{CANARY}\\ud800"}}', "surrogate"),
    (f'{{"text": "{CANARY}", "weight": -1}}', "weight"),
    (f'{{"text": "{CANARY}", "weight": "{CANARY}"}}', "weight is not a number"),
    (f'{{"text": "{CANARY}", "weight": NaN}}', "weight"),
    (f'["{CANARY}"]', "not an object"),
    (f'{{"messages": [{{"role": "user", "content": "{CANARY}"}}]}}', "at least two turns"),
    (
        f'{{"messages": [{{"role": "assistant", "content": "a"}}, {{"role": "user", "content": "{CANARY}"}}]}}',
        "the last message",
    ),
    (f'{{"messages": [{{"role": "{CANARY}", "content": "a"}}, {{"role": "assistant", "content": "b"}}]}}', "no role"),
    (f'{{"question": "a", "answer": "b", "perturbed_answer": [{{"{CANARY}": 1}}]}}', "perturbed_answer is not text"),
    ("[" * 100_000, "nested too deeply"),
    ('{"text": "' + CANARY * 200 + '"}', "longer than 1000 bytes"),
]


def write(folder: Path, text: str | bytes, name: str = "f.jsonl") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(("item", "kind"), GOOD, ids=[kind for _, kind in GOOD])
@pytest.mark.parametrize("name", ["f.jsonl", "f.json", "array.json"])
def test_shapes(tmp_path, item, kind, name):
    text = json.dumps([item, item]) if name == "array.json" else json.dumps(item) + "\r\n\n" + json.dumps(item)
    result = read_records(write(tmp_path, b"\xef\xbb\xbf" + text.encode(), name), "forget")
    assert [record.kind for record in result.records] == [kind, kind]
    assert result.rejected == []
    record = result.records[1]
    assert record.index == 1
    assert record.answer.reveal() == ("a" if kind == "text" else "b")
    assert str(record.answer) == "[forget record 1]"
    if kind == "qa":
        assert [answer.reveal() for answer in record.perturbed_answers] == ["c", "d"]
        assert record.id is not None
        assert record.id.reveal() == "7"


@pytest.mark.parametrize(("line", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_bad_line_is_rejected_by_number_without_its_text(tmp_path, line, reason):
    path = write(tmp_path, '{"text": "fine"}\n' + line + '\n{"text": "fine too"}\n')
    limits = Limits(line_bytes=200_000 if reason == "nested too deeply" else 1000)
    result = read_records(path, "forget", limits=limits)
    assert [record.answer.reveal() for record in result.records] == ["fine", "fine too"]
    assert [item.line for item in result.rejected] == [2]
    assert reason in result.rejected[0].reason
    assert CANARY not in str(result.rejected)


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (b"", "f.jsonl", "empty"),
        (b"\n\n", "f.jsonl", "empty"),
        (f'{{"a": "{CANARY}"}}'.encode(), "f.jsonl", "No usable record"),
        (f'{{"text": "{CANARY}"}}'.encode("utf-16"), "f.jsonl", "UTF-16"),
        (b'{"text": "ok"}\n{"text": "' + CANARY.encode() + b'\xe9"}', "f.jsonl", "line 2, byte 20"),
        (f'["{CANARY}"'.encode(), "f.json", "not valid JSON"),
        (b"x", "f.txt", ".jsonl, .json, .csv, .tsv or .parquet"),
    ],
)
def test_unusable_file(tmp_path, data, name, message):
    with pytest.raises(InputError, match=message) as caught:
        read_records(write(tmp_path, data, name), "forget")
    assert CANARY not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(InputError):
            read_records(path, "forget")


def test_csv(tmp_path):
    text = 'question,answer,subject\n"a, b","c\nd",s\n,e,\nf,g,h,i\n'
    result = read_records(write(tmp_path, text, "f.csv"), "retain")
    assert result.records[0].answer.reveal() == "c\nd"
    assert [item.line for item in result.rejected] == [4, 5]


@given(st.text(min_size=1).filter(lambda text: text.strip() and "\0" not in text), st.text(min_size=1))
def test_any_text_survives_and_no_bad_text_shows(tmp_path_factory, text, junk):
    folder = tmp_path_factory.mktemp("r")
    result = read_records(write(folder, json.dumps({"text": text}) + "\n"), "forget")
    assert result.records[0].answer.reveal() == text
    marked = CANARY + junk.replace("\n", "").replace("\r", "")
    bad = '{"text": "a"}\n' + marked.encode("utf-8", "replace").decode() + "\n"
    assert CANARY not in str(read_records(write(folder, bad), "forget").rejected)


def records(tmp_path, name, items):
    return read_records(write(tmp_path, "\n".join(map(json.dumps, items)), name + ".jsonl"), name).records


def test_overlap_is_refused_by_number_unless_allowed(tmp_path):
    forget = records(tmp_path, "forget", [{"text": CANARY}, {"text": "Stra\u00dfe  5"}])
    retain = records(tmp_path, "retain", [{"text": "STRASSE 5"}, {"text": "x"}, {"text": "x"}])
    with pytest.raises(InputError, match=r"1 of 2 .*\(records 1\).*--allow-overlap") as caught:
        check_splits(forget, retain)
    assert CANARY not in str(caught.value)
    report = check_splits(forget, retain, allow_overlap=True)
    assert (report.overlap, report.retain_duplicates, report.forget_duplicates) == (1, 1, 0)


def test_prompt_and_answer_are_not_run_together(tmp_path):
    forget = records(tmp_path, "forget", [{"prompt": "ab", "completion": "c"}])
    retain = records(tmp_path, "retain", [{"prompt": "a", "completion": "bc"}])
    assert check_splits(forget, retain).overlap == 0


def test_duplicate_ids_are_refused(tmp_path):
    with pytest.raises(InputError, match="records 0, 2"):
        check_splits(
            records(tmp_path, "forget", [{"text": t, "id": i} for t, i in (("a", CANARY), ("b", 2), ("c", CANARY))]), []
        )


def test_empty_forget_set_is_refused():
    with pytest.raises(InputError, match="--forget"):
        check_splits([], [])
