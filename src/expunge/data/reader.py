"""Reads a user's records from JSONL, JSON or CSV, line by line, without a copy of them anywhere else.

A line that cannot be used is rejected by its number and a reason that does not repeat it.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from expunge.data.record import Message, Record
from expunge.errors import InputError
from expunge.storage.secret import Secret

SHAPES = '{"text"}, {"prompt", "completion"}, {"question", "answer"} or {"messages"}'
ENCODINGS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How large input may be.

    Attributes:
        line_bytes: longest line.
        file_bytes: largest JSON array, which is read whole; the other formats are read line by line without this limit.
    """

    line_bytes: int = 1_000_000
    file_bytes: int = 500_000_000


class Rejection(NamedTuple):
    """A line (from 1; in a JSON array, the element) that was left out, and why; never its text."""

    line: int
    reason: str


class ReadResult(NamedTuple):
    """Records in file order, and what was left out."""

    records: list[Record]
    rejected: list[Rejection]


class _Unusable(Exception):  # noqa: N818 - caught within this file
    """Why one line cannot be used."""


def read_records(path: Path, split: str, *, limits: Limits | None = None) -> ReadResult:
    """Reads all records of one file.

    Args:
        path: a ``.jsonl``, ``.json`` (an array, or JSON lines) or ``.csv`` file in UTF-8.
        split: role of the records: forget, retain, ...
        limits: sizes above which input is refused.

    Raises:
        InputError: the file is missing, empty, in another encoding, or has no usable record.
    """
    limits = limits or Limits()
    records: list[Record] = []
    rejected: list[Rejection] = []
    for line, item in _items(path, split, limits):
        try:
            if isinstance(item, _Unusable):
                raise item
            records.append(_record(item, split, len(records)))
        except _Unusable as reason:
            rejected.append(Rejection(line, str(reason)))
    if not records:
        if not rejected:
            raise InputError(f"The {split} file is empty; it must hold at least one record, shaped {SHAPES}.")
        listing = "; ".join(f"line {line}: {reason}" for line, reason in rejected[:5])
        raise InputError(f"No usable record in the {split} file, {len(rejected)} rejected ({listing}). Shapes: {SHAPES}.")
    return ReadResult(records, rejected)


def _items(path: Path, split: str, limits: Limits) -> Iterator[tuple[int, Any]]:
    """Yields line number and parsed object, or the reason why there is none."""
    if path.suffix not in (".jsonl", ".json", ".csv"):
        raise InputError(f"The {split} file must end in .jsonl, .json or .csv.")
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
            if encoding := next((name for mark, name in ENCODINGS.items() if start.startswith(mark)), None):
                raise InputError(f"The {split} file is {encoding}; save it as UTF-8.")
            stream.seek(3 if start.startswith(codecs.BOM_UTF8) else 0)
            if path.suffix == ".csv":
                yield from _csv_rows(stream, split, limits)
            elif path.suffix == ".json" and _first_character(path) == b"[":
                yield from _array_elements(stream, split, limits)
            else:
                yield from _json_lines(stream, split, limits)
    except OSError as error:
        raise InputError(f"The {split} file cannot be read: {error.strerror}. Check the path given for it.") from None


def _first_character(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()[:1]


def _json_lines(stream: io.BufferedReader, split: str, limits: Limits) -> Iterator[tuple[int, Any]]:
    for number, (raw, complete) in enumerate(_lines(stream, limits.line_bytes), start=1):
        if not raw.strip():
            continue
        if not complete:
            yield number, _Unusable(f"longer than {limits.line_bytes} bytes")
            continue
        yield number, _parse(_decode(raw, split, number))


def _lines(stream: io.BufferedReader, limit: int) -> Iterator[tuple[bytes, bool]]:
    """Yields each line's bytes; of one above the limit only the start, and False."""
    while raw := stream.readline(limit + 1):
        complete = len(raw) <= limit or raw.endswith(b"\n")
        yield raw, complete
        while not complete and raw and not raw.endswith(b"\n"):
            raw = stream.readline(limit + 1)


def _decode(raw: bytes, split: str, line: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"The {split} file is not UTF-8: line {line}, byte {error.start + 1} of it. Save it as UTF-8 (iconv -t UTF-8)."
        ) from None


def _parse(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except _Unusable as reason:
        return reason
    except RecursionError:
        return _Unusable("nested too deeply")
    except ValueError:
        return _Unusable("not valid JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Unusable("a key occurs twice")
    return found


def _array_elements(stream: io.BufferedReader, split: str, limits: Limits) -> Iterator[tuple[int, Any]]:
    raw = stream.read(limits.file_bytes + 1)
    if len(raw) > limits.file_bytes:
        raise InputError(f"The {split} file is a JSON array above {limits.file_bytes} bytes; save it as JSON lines (.jsonl).")
    line = raw[: _bad_byte(raw)].count(b"\n") + 1
    parsed = _parse(_decode(raw, split, line))
    if isinstance(parsed, _Unusable):
        raise InputError(f"The {split} file starts as a JSON array and is {parsed}; save it as JSON lines (.jsonl).")
    yield from enumerate(parsed, start=1)


def _bad_byte(raw: bytes) -> int:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _csv_rows(stream: io.BufferedReader, split: str, limits: Limits) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(limits.line_bytes)

    def decoded() -> Iterator[str]:
        for number, (raw, _) in enumerate(_lines(stream, limits.line_bytes), start=1):
            yield _decode(raw, split, number)

    rows = csv.DictReader(decoded(), strict=True)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            yield rows.line_num, _Unusable("not valid CSV")
            return
        if None in row:
            yield rows.line_num, _Unusable("more cells than the header has names")
        else:
            yield rows.line_num, {key: value for key, value in row.items() if value not in (None, "")}


def _record(item: Any, split: str, index: int) -> Record:
    if isinstance(item, str):
        item = {"text": item}
    if not isinstance(item, Mapping):
        raise _Unusable("not an object")
    label = f"{split} record {index}"
    common = {
        "index": index,
        "split": split,
        "id": _optional(item, "id", label),
        "subject": _optional(item, "subject", label),
        "weight": _weight(item),
        "paraphrased_question": _optional(item, "paraphrased_question", label),
        "paraphrased_answer": _optional(item, "paraphrased_answer", label),
        "perturbed_answers": _texts(item, "perturbed_answer", label),
    }
    if "text" in item:
        return Record(kind="text", answer=_text(item["text"], "text", label), **common)
    for kind, ask, reply in (("completion", "prompt", "completion"), ("qa", "question", "answer")):
        if ask in item and reply in item:
            prompt, answer = (_text(item[key], key, label) for key in (ask, reply))
            return Record(kind=kind, prompt=prompt, answer=answer, **common)  # type: ignore[arg-type]
    if "messages" in item:
        turns = _messages(item["messages"], label)
        return Record(kind="messages", messages=turns[:-1], answer=turns[-1].content, **common)
    raise _Unusable(f"none of the shapes {SHAPES}")


def _text(value: Any, key: str, label: str) -> Secret:
    if not isinstance(value, str):
        raise _Unusable(f"{key} is not text")
    if not value.strip():
        raise _Unusable(f"{key} is empty")
    if "\0" in value:
        raise _Unusable(f"{key} has a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _Unusable(f"{key} has half of a surrogate pair")
    return Secret(value, label)


def _optional(item: Mapping[str, Any], key: str, label: str) -> Secret | None:
    value = item.get(key)
    if value is None:
        return None
    if key in ("id", "subject") and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return _text(value, key, label)


def _texts(item: Mapping[str, Any], key: str, label: str) -> tuple[Secret, ...]:
    value = item.get(key, [])
    values = value if isinstance(value, list) else [value]
    return tuple(_text(one, key, label) for one in values)


def _weight(item: Mapping[str, Any]) -> float:
    try:
        weight = float(item.get("weight", 1.0))
    except (TypeError, ValueError):
        raise _Unusable("weight is not a number") from None
    if not (math.isfinite(weight) and weight >= 0):
        raise _Unusable("weight is not a finite number of at least 0")
    return weight


def _messages(value: Any, label: str) -> tuple[Message, ...]:
    if not isinstance(value, list) or len(value) < 2:
        raise _Unusable("messages is not a list of at least two turns")
    turns = []
    for turn in value:
        if not isinstance(turn, Mapping) or turn.get("role") not in ("system", "user", "assistant"):
            raise _Unusable("a message has no role system, user or assistant")
        turns.append(Message(role=turn["role"], content=_text(turn.get("content"), "content", label)))
    if turns[-1].role != "assistant":
        raise _Unusable("the last message is not the assistant's")
    return tuple(turns)
