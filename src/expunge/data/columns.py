"""Columns of a file to fields of a record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from expunge.data.files import FIELDS, Row, Unusable, field_of

LISTS = {"messages": "[", "perturbed_answer": "[", "forms": "{"}  # what a cell that is more than text starts with


def fields_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the record of one line by field; columns that are no field keep their names.

    In a table, a cell of a field that may be a list (or, for ``forms``, an object) is read as JSON where it looks so.

    Raises:
        Unusable: two columns for one field, or a cell that looks like a list and is none.
    """
    found: dict[str, Any] = {}
    for name, value in item.items():
        field = field_of(name)
        if field in FIELDS and field in found:
            raise Unusable(f"two columns for {field}")
        found[field] = _cell(field, value) if isinstance(item, Row) else value
    return found


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
