"""Parquet files, and folders that ``datasets.Dataset.save_to_disk`` wrote, as plain rows.

Format of the folders: https://huggingface.co/docs/datasets/about_arrow. pyarrow reads them, since ``datasets`` would
write what it reads to its cache in clear. No message repeats what a row holds.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from expunge.data.files import FIELDS, Limits, Row, Unusable, field_of, refuse_special, too_long
from expunge.data.turns import FUNCTIONS
from expunge.errors import InputError, MissingExtraError

SUFFIX = ".parquet"
STATE, SPLITS = "state.json", "dataset_dict.json"
ROWS = 64  # that are Python objects at a time
_BUFFER = 1 << 20  # bytes of a column that are read at a time
_STATE_BYTES = 1_000_000
_LISTED = 10  # splits
_END = b"\xff\xff\xff\xff\0\0\0\0"  # of an Arrow stream; without it, a stream that was cut off reads as a shorter one


def arrow_items(path: Path, split: str, limits: Limits, named: Collection[str] = ()) -> Iterator[tuple[int, Any]]:
    """Yields the number of each row, from 1, and its values by column, or the reason why there are none.

    A row has the values that JSON lines of it would have, without the nulls inside lists and objects. A column that is
    no field is named but not read. Memory holds ``ROWS`` rows and what the file has in one piece: a page of each column
    of a Parquet file, a record batch of a folder.

    Args:
        path: a ``.parquet`` file, or the folder of a saved data set.
        split: what to call the file in messages.
        limits: sizes above which input is refused.
        named: columns that are read besides those named as a field.

    Raises:
        InputError: the file cannot be read on, so that nothing of it should be used.
        MissingExtraError: pyarrow is not installed.
        OSError: a file cannot be opened.
    """
    files = arrow_files(path, split)
    for file in files:
        refuse_special(file, split)
    _require(split)
    number = 0
    for file in files:
        with file.open("rb") as stream:
            for batch in _batches(stream, split, named, number, is_stream=path.is_dir()):
                for place in range(batch.num_rows):
                    number += 1
                    yield number, _row(batch.slice(place, 1), limits)


def arrow_files(path: Path, split: str) -> list[Path]:
    """The files that rows are read from, in order: a Parquet file itself, or those that a saved data set names.

    Raises:
        InputError: a folder that ``Dataset.save_to_disk`` did not write, or one of several splits.
        OSError: a file cannot be read.
    """
    if not path.is_dir():
        return [path]
    if (path / SPLITS).exists():
        raise _several_splits(path, split)
    if not (path / STATE).exists():
        raise InputError(
            f"The {split} file is a folder, not a regular file; pass a file in it. Only a folder that save_to_disk of "
            f"the library datasets wrote, with {STATE}, is read as a whole."
        )
    state = _read_json(path / STATE, split)
    if any(state.get(name) for name in ("_indices_data_files", "_indices_files")):
        raise InputError(
            f"The {split} data set was saved with a selection of its rows in a file of its own, which cannot be read. "
            "Save it again with a current version of datasets."
        )
    listed = state.get("_data_files")
    names = [one.get("filename") if isinstance(one, Mapping) else None for one in listed or ()]
    if not isinstance(listed, list) or not all(map(_is_plain_name, names)):
        raise InputError(f"{STATE} of the {split} data set does not name its files; save the data set again.")
    return [path / str(name) for name in names]


def _is_plain_name(name: Any) -> bool:
    """Whether a name leads to nothing outside its folder."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & {"/", "\\", "\0"}


def _several_splits(path: Path, split: str) -> InputError:
    names = _read_json(path / SPLITS, split).get("splits")
    found = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    listed = ", ".join(found[:_LISTED]) + (", ..." if len(found) > _LISTED else "")
    example = f", such as {path / found[0]}" if found else ""
    return InputError(f"The {split} file is a folder of several splits ({listed}); pass one of them{example}.")


def _read_json(path: Path, split: str) -> Mapping[str, Any]:
    refuse_special(path, split)
    with path.open("rb") as stream:
        raw = stream.read(_STATE_BYTES + 1)
    try:
        found = json.loads(raw) if len(raw) <= _STATE_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path.name} of the {split} data set cannot be read; save the data set again.")
    return found


def _require(split: str) -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            f"The {split} file is Parquet or Arrow, which pyarrow reads, and pyarrow is not installed: "
            'pip install "expunge[parquet]"'
        ) from None


def _batches(stream: BinaryIO, split: str, named: Collection[str], number: int, *, is_stream: bool) -> Iterator[Any]:
    """Yields record batches of at most ``ROWS`` rows that were checked; ``number`` rows came before."""
    import pyarrow

    source = _stream_batches(stream, split, named) if is_stream else _parquet_batches(stream, split, named)
    while True:
        try:
            batch = next(source, None)
            if batch is None:
                return
            batch.validate(full=True)
        except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
            if isinstance(error, InputError):
                raise
        else:
            number += batch.num_rows
            yield batch
            continue
        # Raised outside the handler: the error may carry text of the rows and would stay reachable as the context.
        raise InputError(
            f"The {split} file cannot be read after row {number}: it is damaged or encrypted, has text that is not "
            "UTF-8, or needs more memory than there is. Write it again."
        )


def _parquet_batches(stream: BinaryIO, split: str, named: Collection[str]) -> Iterator[Any]:
    from pyarrow.parquet import ParquetFile

    file = ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True)
    schema = file.schema_arrow
    wanted = _wanted(schema.names, split, named)
    rows = 0
    for batch in file.iter_batches(batch_size=ROWS, columns=wanted, use_threads=False):
        rows += batch.num_rows
        yield _with_names(batch, schema.names)
    if rows != file.metadata.num_rows:
        raise ValueError  # rows would be lost without a word


def _stream_batches(stream: BinaryIO, split: str, named: Collection[str]) -> Iterator[Any]:
    from pyarrow.ipc import open_stream

    reader = open_stream(stream)
    wanted = _wanted(reader.schema.names, split, named)
    for batch in reader:
        read = _with_names(batch.select(wanted), reader.schema.names)
        for start in range(0, read.num_rows, ROWS):
            yield read.slice(start, ROWS)
    end = stream.tell()
    stream.seek(max(end - len(_END), 0))
    if stream.read(len(_END) + 1) != _END:
        raise ValueError  # cut off, or ended too early


def _wanted(names: Collection[str], split: str, named: Collection[str]) -> list[str]:
    """The columns to read: pictures and vectors beside a record's text are of no use."""
    fields = [name if name in named else field_of(name) for name in names]
    read = (*FIELDS, *named)
    if any(fields.count(field) > 1 for field in read):
        raise InputError(f"The {split} file has a column twice; keep one of them.")
    return [name for name, field in zip(names, fields, strict=True) if field in read or field.casefold() == FUNCTIONS]


def _with_names(batch: Any, names: Collection[str]) -> Any:
    """The batch with nulls in the columns that were not read, so that a misspelt column is found among all."""
    import pyarrow

    for name in dict.fromkeys(names):
        if name not in batch.schema.names:
            batch = batch.append_column(name, pyarrow.nulls(batch.num_rows))
    return batch


def _row(batch: Any, limits: Limits) -> Row | Unusable:
    """The only row of a batch; a date, a decimal or bytes stay what they are, which is no text."""
    try:
        found = batch.to_pylist(maps_as_pydicts="strict")[0]
    except (ValueError, KeyError, OverflowError):
        return Unusable("a column has a value that cannot be read, or an object with a key twice")
    row = Row((name, _without_nulls(value)) for name, value in found.items())
    return too_long(limits) if _size(row) > limits.line_bytes else row


def _without_nulls(value: Any) -> Any:
    """A struct has all keys of its column; those of other rows read as absent."""
    if isinstance(value, dict):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def _size(value: Any) -> int:
    """Bytes of the text in a value."""
    if isinstance(value, dict):
        return sum(_size(name) + _size(one) for name, one in value.items())
    if isinstance(value, list):
        return sum(map(_size, value))
    return len(value) if isinstance(value, bytes) else len(value.encode()) if isinstance(value, str) else 1
