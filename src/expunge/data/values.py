"""Single values of a record: text that must be there, what counts as nothing, and JSON inside a field."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from expunge.data.files import Unusable
from expunge.storage.secret import Secret


def read_text(value: Any, key: str, label: str) -> Secret:
    """Reads a field that must have text.

    Raises:
        Unusable: it is not text, is empty, or has characters that no file can store.
    """
    if not isinstance(value, str):
        raise Unusable(f"{key} is not text")
    if not value.strip():
        raise Unusable(f"{key} is empty")
    _check_characters(value, key)
    return Secret(value, label)


def read_json(value: Any, key: str, label: str) -> Secret:
    """Reads a field that may have any plain value, as JSON text.

    Raises:
        Unusable: JSON has no such value, or its text has characters that no file can store.
    """
    try:
        text, texts = json.dumps(value, ensure_ascii=False, allow_nan=False), list(leaves(value))
    except (TypeError, ValueError, RecursionError):
        raise Unusable(f"{key} has a value that JSON has not, or is nested too deeply") from None
    for one in texts:
        _check_characters(one, key)
    return Secret(text, label)


def leaves(value: Any) -> Iterator[str]:
    """Every text in a plain value but for the names in its objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)


def with_leaves(value: Any, change: Callable[[str], str]) -> Any:
    """The same value with every text of ``leaves`` changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: with_leaves(one, change) for name, one in value.items()}
    return [with_leaves(one, change) for one in value] if isinstance(value, list) else value


def is_empty(value: Any) -> bool:
    """Whether an optional field reads as absent: exports write null or an empty string where there is no value."""
    return value is None or (isinstance(value, str) and not value.strip())


def is_nothing(value: Any) -> bool:
    """Whether a field that may be a list or an object reads as absent."""
    return is_empty(value) or value in ([], {}, "[]", "{}", "null")


def _check_characters(text: str, key: str) -> None:
    if "\0" in text:
        raise Unusable(f"{key} has a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Unusable(f"{key} has half of a surrogate pair")
