"""Records of any format of file as plain objects, one at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from expunge.data.arrow import SUFFIX, arrow_items
from expunge.data.files import SUFFIXES, Limits, text_items
from expunge.errors import InputError


def read_items(path: Path, split: str, limits: Limits, named: Collection[str] = ()) -> Iterator[tuple[int, Any]]:
    """Yields the number of each line (of a table, of its row) and the parsed object, or the reason why there is none.

    Args:
        path: a ``.jsonl``, ``.json``, ``.csv`` or ``.tsv`` file in UTF-8, a ``.parquet`` file, or a folder that
            ``datasets.Dataset.save_to_disk`` wrote.
        split: what to call the file in messages.
        limits: sizes above which input is refused.
        named: columns that are read besides those named as a field.

    Raises:
        InputError: the file cannot be read on, so that nothing of it should be used.
        MissingExtraError: pyarrow, which the last two need, is not installed.
    """
    try:
        suffix = path.suffix.lower()
        if suffix == SUFFIX or path.is_dir():
            yield from arrow_items(path, split, limits, named)
        elif suffix in SUFFIXES:
            yield from text_items(path, split, limits, named)
        elif not path.exists():
            raise InputError(f"There is no {split} file at the path given for it. Check the path.")
        else:
            raise InputError(f"The {split} file must end in {', '.join(SUFFIXES)} or {SUFFIX}.")
    except OSError as error:
        raise InputError(f"The {split} file cannot be read: {error.strerror}. Check the path given for it.") from None
