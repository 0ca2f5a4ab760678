"""Plain data as strict JSON text and back, without losing a bit.

JSON has no infinity and no NaN. A float that is not finite is written as ``{"$float": "nan"}`` (or ``"inf"``,
``"-inf"``): a bare string would come back as text, and null would hide that there was a number. A mapping of the user's
own that looks like this (one key, ``$float`` behind any number of further ``$``) gets one more ``$``, taken off again
on reading.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

_TAGGED = re.compile(r"\$+float")
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Returns strict JSON text in ASCII; keys keep their order, tuples become lists.

    Args:
        value: None, booleans, numbers, text, and lists, tuples and mappings of them.
        indent: spaces of indentation; one line when None.

    Raises:
        TypeError: anything else (a ``Secret`` in particular) or a key that is not text. No value is shown.
    """
    return json.dumps(_encode(value), indent=indent, allow_nan=False)


def from_json(text: str | bytes) -> Any:
    """Returns the plain data that ``to_json`` wrote.

    Raises:
        ValueError: not strict JSON (NaN and Infinity as bare words included). The text is not shown.
    """
    try:
        return _decode(json.loads(text, parse_constant=_refuse_constant))
    except (ValueError, RecursionError):
        # The decoder's own error carries the whole document with it.
        raise ValueError("not valid JSON") from None


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, Mapping):
        keys = _text_keys(value)
        escape = "$" if len(keys) == 1 and _TAGGED.fullmatch(keys[0]) else ""
        return {escape + key: _encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    raise TypeError(
        f"{type(value).__name__} is not plain data and is not written; convert it to numbers, text or lists first."
    )


def _text_keys(mapping: Mapping[Any, Any]) -> list[str]:
    for key in mapping:
        if not isinstance(key, str):
            raise TypeError(f"A key of type {type(key).__name__} would come back as text; write it as text.")
    return list(mapping)


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(key, item)] = value.items()
        if key == "$float":
            return _NOT_FINITE[item] if isinstance(item, str) and item in _NOT_FINITE else _refuse_constant("$float")
        if _TAGGED.fullmatch(key):
            return {key[1:]: _decode(item)}
    return {key: _decode(item) for key, item in value.items()}


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("not a number of JSON")
