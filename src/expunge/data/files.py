"""JSON lines, JSON arrays and tables as plain objects, one line at a time. No message repeats what a line holds."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.errors import InputError

FIELDS = (
    *("text", "prompt", "completion", "question", "answer", "messages", "tools", "id", "subject", "weight", "forms"),
    *("paraphrased_question", "paraphrased_answer", "perturbed_answer"),
)
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")
DELIMITERS = {".csv": (",", ";", "\t"), ".tsv": ("\t", ",", ";")}  # the usual one first
_CHUNK = 1 << 20  # bytes read at a time to count lines
_GAPS = re.compile(r"[\s-]+")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How large input may be.

    Attributes:
        line_bytes: longest line, element of a JSON array, or row of a table.
        file_bytes: largest JSON array, which is read whole; the other formats are read line by line without this limit.
    """

    line_bytes: int = 1_000_000
    file_bytes: int = 500_000_000


class Unusable(Exception):  # noqa: N818 - caught within the reader
    """Why one line cannot be used."""


class Row(dict[str, Any]):
    """One row of a table by column, whose text may be JSON of a list or an object."""


def field_of(name: str) -> str:
    """The field that a column is for, in any case and with spaces or hyphens; other names as they stand."""
    field = _GAPS.sub("_", name.strip()).casefold()
    return field if field in FIELDS else name.strip()


def count_lines(path: Path) -> int:
    """Returns the lines of a text file, about as many as it has records; 0 for any other file."""
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return 0
    count, last = 0, b"\n"
    with path.open("rb") as stream:
        while part := stream.read(_CHUNK):
            count, last = count + part.count(b"\n"), part[-1:]
    return count + (last != b"\n")


def text_items(path: Path, split: str, limits: Limits, named: Collection[str] = ()) -> Iterator[tuple[int, Any]]:
    """Yields line number and parsed object, or the reason why there is none.

    Args:
        path: a ``.jsonl``, ``.json``, ``.csv`` or ``.tsv`` file in UTF-8.
        split: what to call the file in messages.
        limits: sizes above which input is refused.
        named: columns that are read besides those named as a field.

    Raises:
        InputError: the file cannot be read on, so that nothing of it should be used.
        OSError: the file cannot be opened.
    """
    suffix = path.suffix.lower()
    refuse_special(path, split)
    with path.open("rb") as stream:
        start = stream.read(4)
        # Without a mark, two-byte text still shows as a NUL beside the first ASCII character.
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start:
            raise InputError(f"The {split} file is UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8).")
        stream.seek(3 if start.startswith(codecs.BOM_UTF8) else 0)
        if suffix in DELIMITERS:
            yield from _csv_rows(stream, split, limits, DELIMITERS[suffix], named)
        elif suffix == ".json" and _first_character(path) == b"[":
            yield from _array_elements(stream, split, limits)
        else:
            yield from _json_lines(stream, split, limits)


def refuse_special(path: Path, name: str) -> None:
    """Refuses what is no regular file before it is opened: a pipe would be waited for, and read only once.

    Raises:
        InputError: a folder, a named pipe, a socket or a device.
        OSError: there is nothing of that name.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    way_out = "pass a file in it" if stat.S_ISDIR(mode) else "save its content as a file and pass that"
    raise InputError(f"The {name} file is {kinds.get(stat.S_IFMT(mode), 'a device')}, not a regular file; {way_out}.")


def _first_character(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()[:1]


def _json_lines(stream: io.BufferedReader, split: str, limits: Limits) -> Iterator[tuple[int, Any]]:
    for number, (raw, complete) in enumerate(_lines(stream, limits.line_bytes), start=1):
        if not raw.strip():
            continue
        if not complete:
            yield number, too_long(limits)
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
    """Decodes one or more lines, the first of them numbered ``line``."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        place = error.start
    # Raised outside the handler: the decoding error carries the bytes and would stay reachable as the context.
    line += raw.count(b"\n", 0, place)
    byte = place - raw.rfind(b"\n", 0, place)
    raise InputError(
        f"The {split} file is not UTF-8: line {line}, byte {byte} of it. Save it as UTF-8 (iconv -f LATIN1 -t UTF-8)."
    )


def _parse(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except Unusable as reason:
        return reason
    except RecursionError:
        return Unusable("nested too deeply")
    except ValueError:
        return Unusable("not valid JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unusable("a key occurs twice")
    return found


UNIQUE = json.JSONDecoder(object_pairs_hook=_unique_keys)
PLAIN = json.JSONDecoder()
BLANK = re.compile(r"[ \t\n\r]*")


def _array_elements(stream: io.BufferedReader, split: str, limits: Limits) -> Iterator[tuple[int, Any]]:
    raw = stream.read(limits.file_bytes + 1)
    if len(raw) > limits.file_bytes:
        raise InputError(
            f"The {split} file is a JSON array above {limits.file_bytes} bytes; save it as JSON lines (.jsonl)."
        )
    text = _decode(raw, split, 1)
    del raw
    position, number = _skip(text, text.index("[") + 1), 0
    closed = text.startswith("]", position)
    while not closed:
        number += 1
        item, end = _element(text, position, split, number)
        size = len(text[position:end].encode())
        yield number, too_long(limits) if size > limits.line_bytes else item
        position = _skip(text, end)
        closed = text.startswith("]", position)
        if not closed:
            if not text.startswith(",", position):
                raise _broken_array(split, number, "not valid JSON")
            position = _skip(text, position + 1)
    if _skip(text, position + 1) != len(text):
        raise _broken_array(split, number, "not valid JSON")


def _element(text: str, start: int, split: str, number: int) -> tuple[Any, int]:
    """Returns one element, or why it cannot be used, and where it ends."""
    try:
        try:
            return UNIQUE.raw_decode(text, start)
        except Unusable as reason:
            return reason, PLAIN.raw_decode(text, start)[1]
    except RecursionError:
        fault = "nested too deeply"
    except ValueError:
        fault = "not valid JSON"
    raise _broken_array(split, number, fault)


def _skip(text: str, position: int) -> int:
    blank = BLANK.match(text, position)
    return blank.end() if blank else position


def _broken_array(split: str, number: int, fault: str) -> InputError:
    return InputError(
        f"The {split} file starts as a JSON array and is {fault} at element {number}; "
        "repair it or save it as JSON lines (.jsonl)."
    )


def too_long(limits: Limits) -> Unusable:
    """Why a line above the limit cannot be used."""
    return Unusable(f"longer than {limits.line_bytes} bytes")


def _csv_rows(
    stream: io.BufferedReader, split: str, limits: Limits, delimiters: Sequence[str], named: Collection[str]
) -> Iterator[tuple[int, Any]]:
    """Yields the rows below the header by the number of their first line.

    A quote that is never closed and a line above the limit refuse the whole file: where the next row starts cannot be
    known, and going on would lose or invent records without a word.
    """
    lines = _csv_lines(stream, split, limits)
    # The limit belongs to the csv module, not to one reader, so it is put back;
    # it stops an open quote from eating the file.
    former = csv.field_size_limit(limits.line_bytes)
    line = 1
    try:
        first = next(lines, "\n")
        rows = csv.reader(itertools.chain([first], lines), strict=True, delimiter=_delimiter(first, delimiters, named))
        header = [name.strip() for name in next(rows, [])]
        fields = [name if name in named else field_of(name) for name in header]
        if any(fields.count(name) > 1 for name in (*FIELDS, *named)):
            raise InputError(f"The header of the {split} file has a column twice; keep one of them.")
        line = rows.line_num + 1
        for row in rows:
            cells = Row(zip(header, row, strict=False))
            size = sum(len(cell.encode()) for cell in row)
            if size > limits.line_bytes:
                yield line, too_long(limits)
            elif len(row) > len(header):
                yield line, Unusable("more cells than the header has names")
            elif any(cell.strip() for cell in row):
                yield line, cells
            line = rows.line_num + 1
    except csv.Error:
        fault = line
    else:
        return
    finally:
        csv.field_size_limit(former)
    raise InputError(
        f"The {split} file is not valid CSV in the row that starts on line {fault}: a quote is not closed, text "
        f"follows a closing one, or a cell is longer than {limits.line_bytes} characters. Nothing after it can be read "
        "safely; repair it or save it as JSON lines (.jsonl)."
    )


def _delimiter(header: str, delimiters: Sequence[str], named: Collection[str]) -> str:
    """What stands between the names of a header: what makes most fields of it."""

    def count(delimiter: str) -> int:
        names = next(csv.reader([header], delimiter=delimiter), [])
        return sum(name.strip() in named or field_of(name) in FIELDS for name in names)

    return max(delimiters, key=count)


def _csv_lines(stream: io.BufferedReader, split: str, limits: Limits) -> Iterator[str]:
    for number, (raw, complete) in enumerate(_lines(stream, limits.line_bytes), start=1):
        if not complete:
            raise InputError(
                f"Line {number} of the {split} file is longer than {limits.line_bytes} bytes, and where the next row "
                "of the CSV starts cannot be known; shorten it or save it as JSON lines (.jsonl)."
            )
        yield _decode(raw, split, number)
