"""Value: the value alone, after the question and the statement up to it, as it was trained on.

Tokens of the statement around it, which a model may know from other records, are not scored.
"""

from __future__ import annotations

from collections.abc import Collection

from expunge.data.forms.decoy import DECOY_FORMS
from expunge.data.forms.value import question_of, value_span
from expunge.data.record import Record, Variant
from expunge.registry import forms


@forms.register("value")
def value(record: Record, common: Collection[str] = ()) -> tuple[Variant, ...]:
    """The value, given all that stands before it; none next to decoys of the user's own, which are whole answers."""
    question, span = question_of(record), value_span(record, common)
    if span is None or (question is None and record.kind != "text"):
        return ()
    if any(name in record.variants for name in DECOY_FORMS):
        return ()
    text = record.answer.reveal()
    return (
        Variant(
            prompt=None if question is None else record.answer.relabel(question),
            given=record.answer.relabel(text[: span.start]) if span.start else None,
            answer=record.answer.relabel(text[span]),
            goes_on=True,
        ),
    )
