"""Columns of a file to fields of a record."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping
from typing import Any

from expunge.data.files import FIELDS, Row, Unusable, field_of
from expunge.data.shapes import SHAPES
from expunge.errors import UnknownNameError
from expunge.registry import suggest

LISTS = {
    "messages": "[",
    "tools": "[",
    "perturbed_answer": "[",
    "forms": "{",
}  # what a cell that is more than text starts with


def check_columns(columns: Mapping[str, str]) -> None:
    """Checks which fields are chosen.

    Args:
        columns: the column of each field.

    Raises:
        UnknownNameError: a field that no record has.
    """
    for field in columns:
        if field not in FIELDS:
            raise UnknownNameError(f"--columns names no field of a record with {field!r}.{suggest(field, FIELDS)}")


def check_present(columns: Mapping[str, str], seen: Collection[str], split: str) -> None:
    """Checks that a file has the chosen columns.

    Args:
        columns: the column of each field.
        seen: columns of the file.
        split: what to call the file.

    Raises:
        UnknownNameError: none of its records has one of the columns.
    """
    for field, column in columns.items():
        if column not in seen:
            # No list of all columns: where a table has no header, its first record stands there.
            close = difflib.get_close_matches(column, sorted(seen), n=3)
            hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise UnknownNameError(
                f"--columns {field}={column}: the {split} file has no column {column!r} among its {len(seen)}.{hint} "
                "The columns are read in every file of the command."
            )


def fields_of(item: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Returns the record of one line by field; columns that are no field keep their names.

    A chosen column replaces the column with the field's own name. If a field of one shape is chosen, the fields of all
    other shapes are ignored, so a chosen ``question`` and ``answer`` may stand next to ``text``. In a table, a cell of
    a field that may be a list (or, for ``forms``, an object) is read as JSON where it looks so.

    Args:
        item: the line by column.
        columns: the column of each field that is chosen, see ``check_columns``.

    Raises:
        Unusable: two columns for one field, or a cell that looks like a list and is none.
    """
    chosen = {field: item[column] for field, column in columns.items() if column in item}
    pairs = [*chosen.items(), *_rest(item, columns)]
    found: dict[str, Any] = {}
    for field, value in pairs:
        if field in FIELDS and field in found:
            raise Unusable(f"two columns for {field}")
        found[field] = _cell(field, value) if isinstance(item, Row) and isinstance(value, str) else value
    return found


def _rest(item: Mapping[str, Any], columns: Mapping[str, str]) -> list[tuple[str, Any]]:
    """The fields that are not chosen and keep the column of their own name."""
    shaped = {field for fields in SHAPES.values() if not columns.keys().isdisjoint(fields) for field in fields}
    others = {field for fields in SHAPES.values() for field in fields} - shaped if shaped else set()
    left_out = others | columns.keys()
    taken = set(columns.values())
    own = [(field_of(name), value) for name, value in item.items() if name not in taken]
    return [(field, value) for field, value in own if field not in left_out]


def _cell(field: str, text: str) -> Any:
    start = LISTS.get(field)
    if start is None or not text.lstrip().startswith(start):
        return text
    try:
        return json.loads(text)
    except RecursionError:
        fault = "is nested too deeply"
    except ValueError:
        fault = 'is not valid JSON, such as ["a", "b"]'
    raise Unusable(f"{field} starts with {start} and {fault}")
