"""A corpus of bad files: what becomes of each, word for word, and that nothing of its content shows."""

from __future__ import annotations

import csv
import io
import json
import traceback
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expunge.data.checks import check_splits, fingerprint
from expunge.data.reader import Limits, read_records
from expunge.data.record import Message, Record
from expunge.errors import InputError
from expunge.storage.secret import Secret

C = "zq9canary"
SMALL = Limits(line_bytes=400, file_bytes=4000)
SHAPES = 'none of the shapes {"text"}, {"prompt", "completion"}, {"question", "answer"} or {"messages"}'
USER = '{"role": "user", "content": "a"}'

# name: (line, reason); the line stands second, between two good ones
LINES = {
    "open string": (f'{{"text": "{C}', "not valid JSON"),
    "no closing brace": (f'{{"text": "{C}"', "not valid JSON"),
    "two objects": (f'{{"text": "{C}"}} {{"text": "{C}"}}', "not valid JSON"),
    "bare word": (C, "not valid JSON"),
    "single quotes": (f"{{'text': '{C}'}}", "not valid JSON"),
    "trailing comma": (f'{{"text": "{C}",}}', "not valid JSON"),
    "raw control character": (f'{{"text": "{C}\x01"}}', "not valid JSON"),
    "raw NUL": (f'{{"text": "{C}\0"}}', "not valid JSON"),
    "bad escape": (f'{{"text": "\\x{C}"}}', "not valid JSON"),
    "huge integer": (f'{{"text": "{C}", "weight": {"9" * 390}}}', "longer than 400 bytes"),
    "integer above every float": (
        f'{{"text": "{C}", "weight": {"9" * 350}}}',
        "weight is not a finite number of at least 0",
    ),
    "infinite weight": (f'{{"text": "{C}", "weight": 1e999}}', "weight is not a finite number of at least 0"),
    "negative weight": (f'{{"text": "{C}", "weight": -0.5}}', "weight is not a finite number of at least 0"),
    "weight NaN": (f'{{"text": "{C}", "weight": NaN}}', "weight is not a finite number of at least 0"),
    "weight in words": (f'{{"text": "a", "weight": "{C}"}}', "weight is not a number"),
    "weight true": (f'{{"text": "{C}", "weight": true}}', "weight is not a number"),
    "weight list": (f'{{"text": "a", "weight": ["{C}"]}}', "weight is not a number"),
    "repeated key": (f'{{"text": "a", "text": "{C}"}}', "a key occurs twice"),
    "repeated key inside": (f'{{"text": "a", "x": {{"{C}": 1, "{C}": 2}}}}', "a key occurs twice"),
    "unknown keys": (f'{{"{C}": "a"}}', SHAPES),
    "half a shape": (f'{{"question": "{C}", "completion": "b"}}', SHAPES),
    "empty object": ("{}", SHAPES),
    "a number": ("17", "not an object"),
    "a list": (f'["{C}"]', "not an object"),
    "null": ("null", "not an object"),
    "text of a number": ('{"text": 17}', "text is not text"),
    "text null": ('{"text": null}', "text is not text"),
    "text list": (f'{{"text": ["{C}"]}}', "text is not text"),
    "empty text": ('{"text": ""}', "text is empty"),
    "blank answer": (f'{{"question": "{C}", "answer": " \\n"}}', "answer is empty"),
    "escaped NUL": (f'{{"text": "{C}\\u0000"}}', "text has a NUL character"),
    "lone surrogate": (f'{{"text": "{C}\\udc00"}}', "text has half of a surrogate pair"),
    "surrogate in the id": (f'{{"text": "a", "id": "{C}\\ud800"}}', "id has half of a surrogate pair"),
    "id of an object": (f'{{"text": "a", "id": {{"{C}": 1}}}}', "id is not text"),
    "id true": (f'{{"text": "{C}", "id": true}}', "id is not text"),
    "subject list": (f'{{"text": "a", "subject": ["{C}"]}}', "subject is not text"),
    "perturbed number": (f'{{"text": "{C}", "perturbed_answer": [1]}}', "perturbed_answer is not text"),
    "messages text": (f'{{"messages": "{C}"}}', "messages is not a list of at least two turns"),
    "one message": (
        f'{{"messages": [{{"role": "assistant", "content": "{C}"}}]}}',
        "messages is not a list of at least two turns",
    ),
    "message without role": (
        f'{{"messages": [{USER}, {{"content": "{C}"}}]}}',
        "a message has no role system, user, assistant or tool",
    ),
    "role list": (
        f'{{"messages": [{USER}, {{"role": ["{C}"], "content": "a"}}]}}',
        "a message has no role system, user, assistant or tool",
    ),
    "message of text": (f'{{"messages": [{USER}, "{C}"]}}', "a message has no role system, user, assistant or tool"),
    "user last": (
        f'{{"messages": [{USER}, {{"role": "user", "content": "{C}"}}]}}',
        "the last message is not the assistant's",
    ),
    "content null": (
        f'{{"messages": [{USER}, {{"role": "assistant", "content": null, "x": "{C}"}}]}}',
        "content is not text",
    ),
    "long line": (f'{{"text": "{C * 50}"}}', "longer than 400 bytes"),
}

REPAIR = "repair it or save it as JSON lines (.jsonl)."
UTF8 = "Save it as UTF-8 (iconv -f LATIN1 -t UTF-8)."
BROKEN_CSV = (
    "The forget file is not valid CSV in the row that starts on line {}: a quote is not closed, text follows "
    f"a closing one, or a cell is longer than 400 characters. Nothing after it can be read safely; {REPAIR}"
)
EMPTY = (
    f"The forget file is empty; it must hold at least one record, shaped {SHAPES.removeprefix('none of the shapes ')}."
)

# name: (suffix, bytes, message)
FILES = {
    "empty": (".jsonl", b"", EMPTY),
    "only a mark": (".jsonl", b"\xef\xbb\xbf", EMPTY),
    "blank lines": (".jsonl", b"\r\n  \n\n", EMPTY),
    "empty array": (".json", b" [ ] ", EMPTY),
    "header only": (".csv", b"text\n", EMPTY),
    "utf-16": (
        ".jsonl",
        f'{{"text": "{C}"}}'.encode("utf-16"),
        "The forget file is UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8).",
    ),
    "utf-16 without mark": (
        ".json",
        f'{{"text": "{C}"}}'.encode("utf-16-be"),
        "The forget file is UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8).",
    ),
    "latin-1": (
        ".jsonl",
        f'{{"text": "ok"}}\n{{"text": "{C}\u00e9"}}'.encode("latin-1"),
        f"The forget file is not UTF-8: line 2, byte 20 of it. {UTF8}",
    ),
    "latin-1 in an array": (
        ".json",
        f'[{{"text":\n "{C}\u00e9"}}]'.encode("latin-1"),
        f"The forget file is not UTF-8: line 2, byte 12 of it. {UTF8}",
    ),
    "latin-1 in CSV": (
        ".csv",
        f"text\nok\n{C}\u00e9\n".encode("latin-1"),
        f"The forget file is not UTF-8: line 3, byte 10 of it. {UTF8}",
    ),
    "cut character": (
        ".jsonl",
        b'{"text": "ok"}\n\xe2\x82',
        f"The forget file is not UTF-8: line 2, byte 1 of it. {UTF8}",
    ),
    "suffix": (".txt", C.encode(), "The forget file must end in .jsonl, .json, .csv, .tsv or .parquet."),
    "array cut": (
        ".json",
        f'[{{"text": "a"}}, {{"text": "{C}'.encode(),
        f"The forget file starts as a JSON array and is not valid JSON at element 2; {REPAIR}",
    ),
    "array without comma": (
        ".json",
        f'["a" "{C}"]'.encode(),
        f"The forget file starts as a JSON array and is not valid JSON at element 1; {REPAIR}",
    ),
    "array with an end comma": (
        ".json",
        f'["{C}",]'.encode(),
        f"The forget file starts as a JSON array and is not valid JSON at element 2; {REPAIR}",
    ),
    "array and more": (
        ".json",
        f'["a"] {C}'.encode(),
        f"The forget file starts as a JSON array and is not valid JSON at element 1; {REPAIR}",
    ),
    "array bomb": (
        ".json",
        b"[" * 3900,
        f"The forget file starts as a JSON array and is nested too deeply at element 1; {REPAIR}",
    ),
    "array above the limit": (
        ".json",
        b"[" + b" " * 4000 + b"]",
        "The forget file is a JSON array above 4000 bytes; save it as JSON lines (.jsonl).",
    ),
    "open quote": (".csv", f'text\nok\n"{C}\nmore\n'.encode(), BROKEN_CSV.format(3)),
    "open quote swallows": (".csv", f'text\nok\n"{C}\n'.encode() + b"more\n" * 500, BROKEN_CSV.format(3)),
    "text behind a quote": (".csv", f'text\nok\n"a"{C}\nmore\n'.encode(), BROKEN_CSV.format(3)),
    "long CSV line": (
        ".csv",
        f"question,answer\na,b\nq,{C * 60}\nc,d\n".encode(),
        "Line 3 of the forget file is longer than 400 bytes, and where the next row of the CSV starts cannot be known; "
        "shorten it or save it as JSON lines (.jsonl).",
    ),
    "column twice": (
        ".csv",
        f"text,text\n{C},b\n".encode(),
        "The header of the forget file has a column twice; keep one of them.",
    ),
    "nothing usable": (
        ".jsonl",
        f'{C}\n\n{{"text": 1}}\n'.encode(),
        "No usable record in the forget file, 2 rejected (line 1: not valid JSON; line 3: text is not text). Shapes: "
        + EMPTY.split("shaped ")[1],
    ),
}


def put(folder: Path, data: bytes, suffix: str = ".jsonl") -> Path:
    path = folder / f"f{suffix}"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_bad_line(tmp_path, name, ending):
    line, reason = LINES[name]
    data = ending.join(['{"text": "one"}', line, '{"text": "two"}', ""]).encode()
    result = read_records(put(tmp_path, data), "forget", limits=SMALL)
    assert result.rejected == [(2, reason)]
    assert [(record.index, record.answer.reveal()) for record in result.records] == [(0, "one"), (1, "two")]


@pytest.mark.parametrize("name", FILES)
def test_bad_file(tmp_path, name):
    suffix, data, message = FILES[name]
    with pytest.raises(InputError) as caught:
        read_records(put(tmp_path, data, suffix), "forget", limits=SMALL)
    assert str(caught.value) == message
    assert C not in "".join(traceback.format_exception(caught.value, chain=True)).replace(str(tmp_path), "")


def test_an_encoding_error_does_not_carry_the_bytes(tmp_path):
    path = put(tmp_path, f'{{"text": "{C}\u00e9"}}'.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        read_records(path, "forget")
    assert caught.value.__context__ is None


def test_a_missing_file_and_a_folder_name_no_path(tmp_path):
    for path in (tmp_path / f"{C}.jsonl", tmp_path.with_suffix(".jsonl")):
        with pytest.raises(InputError, match="cannot be read: No such file or directory") as caught:
            read_records(path, "forget")
        assert C not in str(caught.value)
    folder = tmp_path / "folder.jsonl"
    folder.mkdir()
    with pytest.raises(InputError, match="is a folder, not a regular file"):
        read_records(folder, "forget")


def test_an_array_loses_only_its_bad_elements(tmp_path):
    items = ["one", f'{{"text": "{C}", "text": "b"}}', "x" * 500, 5, {"text": "two"}]
    data = (
        "[" + ",\n".join(item if isinstance(item, str) and item[0] == "{" else json.dumps(item) for item in items) + "]"
    )
    result = read_records(put(tmp_path, data.encode(), ".json"), "forget", limits=SMALL)
    assert [record.answer.reveal() for record in result.records] == ["one", "two"]
    assert result.rejected == [(2, "a key occurs twice"), (3, "longer than 400 bytes"), (4, "not an object")]


def test_a_csv_row_is_named_by_its_first_line_and_the_module_keeps_its_limit(tmp_path):
    before = 123_456
    csv.field_size_limit(before)
    data = f'\ufeffquestion, answer ,weight\r\n"a\r\nb",c,\r\n\r\n"{C}\r\n{C}",,1\r\nd,e,2\r\nf,g,1,{C}\r\n'.encode()
    result = read_records(put(tmp_path, data, ".csv"), "forget", limits=SMALL)
    assert [(record.answer.reveal(), record.weight) for record in result.records] == [("c", 1.0), ("e", 2.0)]
    assert result.rejected == [(5, "answer is empty"), (8, "more cells than the header has names")]
    assert csv.field_size_limit() == before


def test_a_csv_row_of_many_lines_is_bounded_as_a_whole(tmp_path):
    cell = (C + "\n") * 20
    data = f'question,answer,subject\n"{cell}","{cell}","{cell}"\na,b,c\n'.encode()
    result = read_records(put(tmp_path, data, ".csv"), "forget", limits=SMALL)
    assert result.rejected == [(2, "longer than 400 bytes")]
    assert [record.answer.reveal() for record in result.records] == ["b"]


def test_a_line_at_the_limit_is_read_and_one_byte_more_is_not(tmp_path):
    line = json.dumps({"text": "x" * 100}).encode()
    for limit, read in ((len(line), 2), (len(line) - 1, 0)):
        path = put(tmp_path, line + b"\n" + line)
        limits = Limits(line_bytes=limit)
        if read:
            assert len(read_records(path, "forget", limits=limits).records) == read
        else:
            with pytest.raises(InputError, match="longer than"):
                read_records(path, "forget", limits=limits)


JUNK = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=JUNK, after=JUNK, suffix=st.sampled_from([".jsonl", ".json", ".csv"]), cut=st.integers(0, 40))
def test_no_message_repeats_what_a_line_holds(tmp_path, before, after, suffix, cut):
    whole = json.dumps({"question": before + C, C: after, "answer": [C]}, ensure_ascii=False)
    data = f"text\n{whole[: len(whole) - cut]}{after}\n".encode()
    try:
        said = str(read_records(put(tmp_path, data, suffix), "forget").rejected)
    except InputError as error:
        said = "".join(traceback.format_exception(error))
    assert C not in said.replace(str(tmp_path), "")


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1).filter(str.strip)
SHAPED = st.one_of(
    st.fixed_dictionaries({"text": TEXT}),
    st.fixed_dictionaries({"prompt": TEXT, "completion": TEXT}, optional={"id": TEXT, "weight": st.floats(0, 1e6)}),
    st.fixed_dictionaries({"question": TEXT, "answer": TEXT}, optional={"subject": TEXT, "paraphrased_answer": TEXT}),
)


def shown(record: Record) -> dict[str, object]:
    """The record as its file had it."""
    names = {"text": (None, "text"), "completion": ("prompt", "completion"), "qa": ("question", "answer")}[record.kind]
    found = {names[0]: record.prompt, names[1]: record.answer, "id": record.id, "subject": record.subject}
    found["paraphrased_answer"] = record.paraphrased_answer
    plain = {key: value.reveal() for key, value in found.items() if value is not None}
    return plain | ({} if record.weight == 1 else {"weight": record.weight})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(item=SHAPED, form=st.sampled_from(["jsonl", "lines in json", "array", "csv"]), mark=st.booleans())
def test_any_good_record_survives_in_any_format(tmp_path, item, form, mark):
    if form == "csv":
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, list(item), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerow(item)
        text, suffix = buffer.getvalue(), ".csv"
    else:
        text, suffix = json.dumps([item] if form == "array" else item, ensure_ascii=False), ".json"
        suffix = ".jsonl" if form == "jsonl" else suffix
    result = read_records(put(tmp_path, b"\xef\xbb\xbf" * mark + text.encode(), suffix), "retain")
    expected = {key: value for key, value in item.items() if not (key == "weight" and value == 1)}
    assert result.rejected == []
    assert [shown(record) for record in result.records] == [expected]


def test_memory_stays_near_one_line_for_what_is_not_kept(tmp_path):
    # 8 MB of which every line but one is rejected: only numbers and reasons may stay.
    path = put(tmp_path, b'{"text": "kept"}\n' + (b'{"question": "' + b"x" * 100_000 + b'"}\n') * 80)
    tracemalloc.start()
    try:
        result = read_records(path, "forget")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(result.rejected) == 80
    assert peak < 1_500_000  # bytes; the file read whole would take more than 8 million


def test_real_files(shared_data):
    counts = {"full.json": 4000, "forget10_perturbed.json": 400, "real_authors_perturbed.json": 100}
    for name, count in counts.items():
        result = read_records(shared_data / "tofu" / name, "forget")
        assert (len(result.records), result.rejected) == (count, [])
    assert {len(record.perturbed_answers) for record in result.records} == {3}


def test_overlap_is_seen_across_shapes_and_spellings():
    question = Record(
        index=0, split="forget", kind="qa", prompt=Secret("Who?", "r"), answer=Secret("\ufb01ne  Stra\u00dfe", "r")
    )
    turn = Message(role="user", content=Secret("who?", "r"))
    talk = Record(index=0, split="retain", kind="messages", messages=(turn,), answer=Secret("FINE STRASSE", "r"))
    assert check_splits([question], [talk], allow_overlap=True).overlap == 1
    assert fingerprint(question) != fingerprint(question.with_answer("fine"))
