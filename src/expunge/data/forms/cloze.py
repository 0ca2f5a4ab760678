"""Cloze: the statement with a gap where the value stood. Taylor, 1953, https://doi.org/10.1177/107769905303000401."""

from __future__ import annotations

from collections.abc import Collection

from expunge.data.forms.statement import as_prompt, statement
from expunge.data.forms.value import value_span
from expunge.data.record import Record, Variant
from expunge.registry import forms


@forms.register("cloze")
def cloze(record: Record, common: Collection[str] = ()) -> tuple[Variant, ...]:
    """The value left out of the statement, with the rest of the sentence shown."""
    span = value_span(record, common)
    if span is None:
        return ()
    found = statement(record, span)
    if found.is_bare:
        return ()  # the answer is the value and nothing else
    prompt = as_prompt(record, found.with_gap.strip())
    return (Variant(prompt=record.answer.relabel(prompt), answer=record.answer.relabel(found.middle)),)
