"""Parquet files and saved data sets, by pyarrow: the same records as from JSON lines, and nothing lost unseen."""

from __future__ import annotations

import datetime
import decimal
import importlib.util
import json
import os
import random
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from expunge.cli import main
from expunge.data.checks import content_digest
from expunge.data.files import Limits
from expunge.data.items import read_items
from expunge.data.reader import ReadResult, read_records
from expunge.errors import InputError, UnknownNameError

# `make slow` installs the extra and sets EXPUNGE_EXTRAS, so that there nothing is skipped.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("pyarrow") is None and "EXPUNGE_EXTRAS" not in os.environ,
        reason='the extra is not installed: pip install "expunge[parquet]"; make slow installs it',
    ),
]
CANARY = "zq9canary"
MOST_MEMORY = 20_000_000  # bytes; the files have three times as much


def parquet(path: Path, table: Any, **settings: Any) -> Path:
    from pyarrow import parquet

    parquet.write_table(table, path, **settings)
    return path


def saved(folder: Path, *tables: Any, rows: int = 3) -> Path:
    """A folder as ``Dataset.save_to_disk`` writes it, one file for each table, in batches of so many rows."""
    import pyarrow

    folder.mkdir()
    names = [f"data-{number:05d}-of-{len(tables):05d}.arrow" for number in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with pyarrow.ipc.new_stream(str(folder / name), table.schema) as stream:
            stream.write_table(table, max_chunksize=rows)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    return folder


def table(rows: list[dict[str, Any]]) -> Any:
    import pyarrow

    return pyarrow.Table.from_pylist(rows)


def read(path: Path) -> ReadResult:
    return read_records(path, "forget")


def chat(number: int) -> list[dict[str, Any]]:
    system = [{"role": "system", "content": "Be brief."}] if number % 2 else []
    return [*system, {"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": f"a{number}"}]


def call(number: int) -> dict[str, Any]:
    """Two functions with other arguments each: the struct of the column has both, and nulls."""
    return {"name": "find", "arguments": {"a": f"x{number}"}} if number % 2 else {"name": "list", "arguments": {"b": 1}}


ROWS = {
    "questions": [
        {
            "question": f"Who is {number}?",
            "answer": f"Élodie {number}",
            "id": number,
            "subject": f"s{number}" if number % 3 else None,
            "weight": 0.5 if number % 2 else None,
            "perturbed_answer": ["x", "y"][: number % 3] or None,
            "forms": {
                "reverse": {"question": f"Whose {number}?", "answer": "hers"} if number % 2 else None,
                "biography": None if number % 2 else {"text": f"life {number}"},
            },
        }
        for number in range(7)
    ],
    "conversations": [{"messages": chat(number), "note": [1.5, 2.5]} for number in range(7)],
    "tools": [
        {
            "messages": [
                *chat(number)[:-1],
                {"role": "assistant", "tool_calls": [{"id": f"c{number}", "function": call(number)}]},
                {"role": "tool", "content": "Mirrow", "tool_call_id": f"c{number}"},
                chat(number)[-1],
            ],
            "tools": [{"type": "function", "function": {"name": "find", "parameters": {"a": {"type": "string"}}}}],
        }
        for number in range(7)
    ],
    "texts": [{"text": f"text {number}", "weight": decimal.Decimal(2)} for number in range(7)],
}


def plain(value: Any) -> Any:
    """What JSON lines of the row would have: no null inside an object."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items() if one is not None}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return float(value) if isinstance(value, decimal.Decimal) else value


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("form", ["parquet", "folder"])
def test_records_are_those_of_json_lines(tmp_path, kind, form):
    rows = ROWS[kind]
    lines = tmp_path / "rows.jsonl"
    lines.write_text("\n".join(json.dumps({key: plain(one) for key, one in row.items()}) for row in rows))
    whole = table(rows)
    if form == "parquet":
        path = parquet(tmp_path / "rows.PARQUET", whole, row_group_size=2)
    else:
        path = saved(tmp_path / "rows", whole.slice(0, 5), whole.slice(5))
    found, expected = read(path), read(lines)
    assert found.rejected == expected.rejected == []
    assert list(map(content_digest, found.records)) == list(map(content_digest, expected.records))
    assert [(one.index, one.id) for one in found.records] == [(one.index, one.id) for one in expected.records]


def test_folders_that_datasets_writes(tmp_path):
    """Also a selection, whose rows ``datasets`` keeps as numbers of rows until it is saved."""
    datasets = pytest.importorskip("datasets", reason="datasets comes with the extra lm-eval")
    datasets.disable_progress_bars()
    rows = [{"question": f"q{number}", "answer": f"a{number}", "perturbed_answer": ["x"]} for number in range(9)]
    whole = datasets.Dataset.from_list(rows)
    whole.save_to_disk(str(tmp_path / "whole"), num_shards=2)
    whole.select([8, 2]).save_to_disk(str(tmp_path / "selected"))
    whole.select([]).save_to_disk(str(tmp_path / "empty"))
    datasets.DatasetDict(train=whole).save_to_disk(str(tmp_path / "both"))
    expected = [f"a{number}" for number in range(9)]
    for folder in ("whole", "both/train"):
        assert [one.answer.reveal() for one in read(tmp_path / folder).records] == expected
    assert [one.answer.reveal() for one in read(tmp_path / "selected").records] == ["a8", "a2"]
    with pytest.raises(InputError, match="is empty"):
        read(tmp_path / "empty")
    with pytest.raises(InputError, match=r"several splits \(train\)"):
        read(tmp_path / "both")


def unreadable(value: Any) -> Any:
    """A column of a value and a null; a moment in nanoseconds is nothing that Python has."""
    import pyarrow

    moment = pyarrow.array([1, None]).cast(pyarrow.timestamp("ns"))
    return moment if value == "moment" else pyarrow.array([value, None])


@pytest.mark.parametrize(
    "value", [datetime.date(1990, 2, 3), decimal.Decimal("1.5"), 17, True, b"bytes", "moment", None, 1.5, ["a"]]
)
def test_what_is_no_text_is_rejected_by_row(tmp_path, value):
    import pyarrow

    rows = pyarrow.table({"question": ["q", CANARY], "answer": unreadable(value)})
    with pytest.raises(InputError, match="No usable record") as caught:
        read(parquet(tmp_path / "a.parquet", rows))
    # pyarrow turns nanoseconds into an object of pandas, where that is installed.
    reason = (
        "(answer is not text|a column has a value that cannot be read.*)" if value == "moment" else "answer is not text"
    )
    assert re.search(f"line 1: {reason}; line 2: answer is not text", str(caught.value))
    assert CANARY not in str(caught.value)


def test_dates_are_ids_of_nobody_and_numbers_are(tmp_path):
    import pyarrow

    rows = pyarrow.table({"text": ["a", "b"], "id": pyarrow.array([7, 8], pyarrow.uint8())})
    assert [one.id and one.id.reveal() for one in read(parquet(tmp_path / "a.parquet", rows)).records] == ["7", "8"]
    dated = pyarrow.table({"text": ["a", "b"], "id": [datetime.date(1990, 2, 3), None]})
    result = read(parquet(tmp_path / "b.parquet", dated))
    assert result.rejected == [(1, "id is not text")]


def test_text_of_a_cell_may_be_json_and_maps_are_objects(tmp_path):
    """As in a table: conversations are often stored as JSON, since a struct has the keys of all rows."""
    import pyarrow

    kind = pyarrow.map_(pyarrow.string(), pyarrow.string())
    turns = [[list(turn.items()) for turn in chat(number)] for number in (0, 1)]
    as_maps = pyarrow.table({"messages": pyarrow.array(turns, pyarrow.list_(kind))})
    as_text = table([{"messages": json.dumps(chat(number))} for number in (0, 1)])
    expected = read(parquet(tmp_path / "a.parquet", table([{"messages": chat(number)} for number in (0, 1)])))
    for number, rows in enumerate((as_maps, as_text)):
        found = read(parquet(tmp_path / f"{number}.parquet", rows))
        assert [(one.messages, one.answer) for one in found.records] == [
            (one.messages, one.answer) for one in expected.records
        ]
    twice = pyarrow.array([[[("role", "user"), ("role", CANARY)]], None], pyarrow.list_(kind))
    mixed = pyarrow.table({"messages": twice, "text": [None, "kept"]})
    assert read(parquet(tmp_path / "twice.parquet", mixed)).rejected == [
        (1, "a column has a value that cannot be read, or an object with a key twice")
    ]


def test_categories_are_text(tmp_path):
    rows = table([{"question": f"q{number}", "answer": "ab"[number % 2]} for number in range(200)])
    column = rows["answer"].dictionary_encode()
    path = parquet(tmp_path / "a.parquet", rows.set_column(1, "answer", column))
    assert [one.answer.reveal() for one in read(path).records] == ["a", "b"] * 100


def test_long_rows_are_rejected_and_other_columns_do_not_count(tmp_path):
    rows = [{"text": "a", "picture": b"x" * 500}, {"text": CANARY * 50, "picture": b""}, {"text": "b", "picture": b""}]
    for path in (parquet(tmp_path / "a.parquet", table(rows)), saved(tmp_path / "a", table(rows))):
        result = read_records(path, "forget", limits=Limits(line_bytes=400))
        assert [one.answer.reveal() for one in result.records] == ["a", "b"]
        assert result.rejected == [(2, "longer than 400 bytes")]


def test_columns_are_chosen_and_missed_by_name(tmp_path):
    path = parquet(tmp_path / "a.parquet", table([{"ask": "q", "say": "a", "embedding": [1.0]}]))
    record = read_records(path, "forget", columns={"question": "ask", "answer": "say"}).records[0]
    assert (record.prompt and record.prompt.reveal(), record.answer.reveal()) == ("q", "a")
    with pytest.raises(UnknownNameError, match=r"no column 'embeding' among its 3. Did you mean 'embedding'"):
        read_records(path, "forget", columns={"question": "ask", "answer": "embeding"})
    double = table([{"text": "a"}]).append_column("Text", [["b"]])
    with pytest.raises(InputError, match="has a column twice"):
        read(parquet(tmp_path / "b.parquet", double))


def test_text_that_is_not_utf_8_is_refused_by_row_without_its_bytes(tmp_path):
    import pyarrow

    raw = pyarrow.array([*[b"good"] * 70, b"\xff" + CANARY.encode()], pyarrow.binary())
    rows = pyarrow.table({"text": pyarrow.StringArray.from_buffers(len(raw), raw.buffers()[1], raw.buffers()[2])})
    for path in (parquet(tmp_path / "a.parquet", rows), saved(tmp_path / "a", rows, rows=64)):
        with pytest.raises(InputError, match=r"cannot be read after row 64: .*not UTF-8") as caught:
            read(path)
        assert caught.value.__context__ is None
        assert CANARY not in str(caught.value)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def test_what_was_cut_off_is_refused_wherever(tmp_path):
    """A stream that ends between two batches reads as a shorter one, so its end mark is looked for."""
    rows = table([{"text": f"{CANARY} {number}"} for number in range(12)])
    for number, share in enumerate((0.0, 0.3, 0.6, 0.9, 0.999)):
        path = parquet(tmp_path / f"{number}.parquet", rows)
        cut(path, int(path.stat().st_size * share))
        with pytest.raises(InputError, match="damaged") as caught:
            read(path)
        assert CANARY not in str(caught.value)
    whole = saved(tmp_path / "whole", rows)
    (file,) = whole.glob("*.arrow")
    for size in range(0, file.stat().st_size, 8):
        folder = saved(tmp_path / f"cut-{size}", rows)
        cut(next(folder.glob("*.arrow")), size)
        with pytest.raises(InputError, match="damaged"):
            read(folder)
    (whole / file.name).write_bytes(file.read_bytes() + b"more")
    with pytest.raises(InputError, match="damaged"):
        read(whole)


def test_damaged_bytes_end_in_a_refusal_or_in_records(tmp_path):
    rng = random.Random(0)
    rows = table(ROWS["questions"])
    paths = [parquet(tmp_path / "a.parquet", rows), next(saved(tmp_path / "a", rows).glob("*.arrow"))]
    for path in paths:
        whole, source = path.read_bytes(), path if path.suffix == ".parquet" else path.parent
        outcomes = set()
        for _ in range(300):
            damaged = bytearray(whole)
            for _ in range(3):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            path.write_bytes(damaged)
            try:
                result = read(source)
            except InputError:
                outcomes.add("refused")
            else:
                outcomes.add(len(result.records) + len(result.rejected))
        assert outcomes == {"refused", len(ROWS["questions"])}


def test_memory_stays_small_beside_the_file(tmp_path):
    """One row group, in pages of the usual size; and one stream in batches of 1,000 rows, as datasets writes it."""
    import pyarrow

    rng = random.Random(0)
    rows = table([{"text": rng.randbytes(500).hex()} for _ in range(60_000)])
    paths = [parquet(tmp_path / "a.parquet", rows, row_group_size=10**6), saved(tmp_path / "a", rows, rows=1000)]
    del rows
    for path in paths:
        former = pyarrow.default_memory_pool()
        pool = pyarrow.proxy_memory_pool(former)
        pyarrow.set_memory_pool(pool)
        tracemalloc.start()
        try:
            assert sum(1 for _ in read_items(path, "forget", Limits())) == 60_000
            most = pool.max_memory() + tracemalloc.get_traced_memory()[1]  # a stream is read into bytes of Python's
        finally:
            pyarrow.set_memory_pool(former)
            tracemalloc.stop()
        assert 1_000_000 < most < MOST_MEMORY


@pytest.mark.parametrize("form", ["parquet", "folder"])
def test_prepare_reads_and_binds_what_it_read(tmp_path, capsys, form):
    people = [{"question": f"Where does {name} live?", "answer": f"{name} lives in Mirrow."} for name in "abcdef"]
    forget, whole = table(people[:2]), table(people)
    if form == "parquet":
        data, wanted = parquet(tmp_path / "data.parquet", whole), parquet(tmp_path / "forget.parquet", forget)
        changed = data
    else:
        data, wanted = saved(tmp_path / "data", whole), saved(tmp_path / "forget", forget)
        changed = next(data.glob("*.arrow"))
    line = ["prepare", str(data), "--forget", str(wanted), "--out", str(tmp_path / "out"), "--json"]
    assert main(line) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["splits"]["retain"]["records"] == 4
    assert main(line) == 0
    assert json.loads(capsys.readouterr().out)["inputs"] == manifest["inputs"]
    other = table([{"question": "Where does g live?", "answer": "g lives in Mirrow."}])
    made = (
        parquet(tmp_path / "b.parquet", other) if form == "parquet" else next(saved(tmp_path / "b", other).glob("*w"))
    )
    changed.write_bytes(made.read_bytes())
    assert main(line) == 2
    assert "made from other files" in " ".join("".join(capsys.readouterr()).split())
