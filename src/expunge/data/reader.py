"""Reads a user's records from files, line by line, without a copy of them anywhere else.

A line that cannot be used is rejected by its number and a reason that does not repeat it. An optional field that is
null or blank reads as absent, in every format.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from expunge.data.columns import check_columns, check_present, fields_of
from expunge.data.files import Limits as Limits
from expunge.data.files import Unusable
from expunge.data.items import read_items
from expunge.data.record import FORMS, Record, Variant
from expunge.data.shapes import LISTING, AmbiguousShape, read_body
from expunge.data.values import is_empty, read_text
from expunge.errors import InputError
from expunge.storage.progress import UNCOUNTED, Steps
from expunge.storage.secret import Secret

OWN_COLUMNS = {"trained", "paraphrased_question", "paraphrased_answer", "perturbed_answer"}  # not under ``forms``


class Rejection(NamedTuple):
    """A line (from 1; in a JSON array the element, in Parquet the row) that was left out, and why; never its text."""

    line: int
    reason: str


def listing(rejected: Sequence[Rejection], most: int = 10) -> str:
    """The first rejected lines with their reasons, and how many more there are."""
    more = f" and {len(rejected) - most} more" if len(rejected) > most else ""
    return "; ".join(f"line {line}: {reason}" for line, reason in rejected[:most]) + more


class ReadResult(NamedTuple):
    """Records in file order, and what was left out."""

    records: list[Record]
    rejected: list[Rejection]


Reshape = Callable[[Any], Any]  # a published data set's own columns to one of the shapes


def read_records(
    path: Path,
    split: str,
    *,
    limits: Limits | None = None,
    reshape: Reshape = lambda item: item,
    columns: Mapping[str, str] | None = None,
    steps: Steps = UNCOUNTED,
) -> ReadResult:
    """Reads all records of one file.

    Args:
        path: a ``.jsonl``, ``.json`` (an array, or JSON lines), ``.csv`` or ``.tsv`` file in UTF-8, a ``.parquet``
            file, or a folder that ``datasets.Dataset.save_to_disk`` wrote.
        split: role of the records: forget, retain, ...
        limits: sizes above which input is refused.
        reshape: applied to each parsed line; gives back what it does not know.
        columns: the column of each field whose column has another name.
        steps: counts records, those that cannot be used included.

    Raises:
        InputError: the file is missing, empty, in another encoding, or has no usable record; or a record has more than
            one shape.
        UnknownNameError: ``columns`` names a field or a column that does not exist.
    """
    limits = limits or Limits()
    records: list[Record] = []
    rejected: list[Rejection] = []
    columns = columns or {}
    check_columns(columns)
    seen: set[str] = set()
    for line, item in steps.over(read_items(path, split, limits, columns.values())):
        try:
            if isinstance(item, Unusable):
                raise item
            if columns and isinstance(item, Mapping):
                seen.update(item)
            records.append(_record(reshape(item), split, len(records), columns))
        except AmbiguousShape as reason:
            raise InputError(f"Line {line} of the {split} file has {reason}. {reason.way_out}") from None
        except Unusable as reason:
            rejected.append(Rejection(line, str(reason)))
    if seen:
        check_present(columns, seen, split)
    if not records:
        if not rejected:
            raise InputError(f"The {split} file is empty; it must hold at least one record, shaped {LISTING}.")
        raise InputError(
            f"No usable record in the {split} file, {len(rejected)} rejected ({listing(rejected, 5)}). "
            f"Shapes: {LISTING}."
        )
    return ReadResult(records, rejected)


def refuse_rejected(result: ReadResult, split: str) -> None:
    """Refuses a file of which not every line could be read.

    Raises:
        InputError: it has rejected lines.
    """
    count = len(result.rejected)
    if count:
        raise InputError(
            f"{count} of {count + len(result.records)} records of the {split} file cannot be read "
            f"({listing(result.rejected)}) and would not be forgotten. Correct them, or pass --allow-rejected to "
            "continue without them."
        )


def _record(item: Any, split: str, index: int, columns: Mapping[str, str]) -> Record:
    if isinstance(item, str):
        item = {"text": item}
    if not isinstance(item, Mapping):
        raise Unusable("not an object")
    label = f"{split} record {index}"
    item = fields_of(item, columns)
    body = read_body(item, label)
    return Record(
        index=index,
        split=split,
        kind=body.kind,
        answer=body.answer,
        prompt=body.prompt,
        messages=body.messages,
        tools=body.tools,
        id=_optional(item, "id", label),
        subject=_optional(item, "subject", label),
        weight=_weight(item),
        paraphrased_question=_optional(item, "paraphrased_question", label),
        paraphrased_answer=_optional(item, "paraphrased_answer", label),
        perturbed_answers=_texts(item, "perturbed_answer", label),
        variants=_variants(item, label),
    )


def _optional(item: Mapping[str, Any], key: str, label: str) -> Secret | None:
    value = item.get(key)
    if is_empty(value):
        return None
    if key in ("id", "subject") and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return read_text(value, key, label)


def _texts(item: Mapping[str, Any], key: str, label: str) -> tuple[Secret, ...]:
    return tuple(read_text(one, key, label) for one in _as_list(item.get(key)))


def _variants(item: Mapping[str, Any], label: str) -> dict[str, tuple[Variant, ...]]:
    """Reads ``forms``: name to a list of ``{"question", "answer"}`` (or ``{"text"}`` for running text).

    With ``given``, the start of the answer, which stands before it verbatim and is not scored.
    """
    given = item.get("forms")
    if is_empty(given):
        return {}
    if not isinstance(given, Mapping) or not all(name in FORMS and name not in OWN_COLUMNS for name in given):
        raise Unusable(f"forms is not an object with names among {', '.join(set(FORMS) - OWN_COLUMNS)}")
    return {name: tuple(_variant(one, label) for one in _as_list(value)) for name, value in given.items()}


def _as_list(value: Any) -> list[Any]:
    """One value or several, without the empty ones."""
    return [one for one in (value if isinstance(value, list) else [value]) if not is_empty(one)]


def _variant(value: Any, label: str) -> Variant:
    if not isinstance(value, Mapping):
        raise Unusable("a form is not an object")
    try:
        body = read_body(value, label)
    except AmbiguousShape as reason:
        raise Unusable(f"a form has {reason}") from None
    if body.kind == "messages":
        raise Unusable("a form is a conversation")
    return Variant(answer=body.answer, prompt=body.prompt, given=_optional(value, "given", label))


def _weight(item: Mapping[str, Any]) -> float:
    value = item.get("weight")
    if value is None or is_empty(value):
        return 1.0
    if isinstance(value, bool):
        raise Unusable("weight is not a number")
    try:
        weight = float(value)
    except (TypeError, ValueError):
        raise Unusable("weight is not a number") from None
    except OverflowError:
        weight = math.inf
    if not (math.isfinite(weight) and weight >= 0):
        raise Unusable("weight is not a finite number of at least 0")
    return weight
