"""Prefix: the answer begun, to be continued. Carlini et al., 2023, https://arxiv.org/abs/2202.07646."""

from __future__ import annotations

from collections.abc import Collection

from expunge.data.forms.value import question_of, value_span
from expunge.data.forms.words import scan
from expunge.data.record import Record, Variant
from expunge.registry import forms

SHARES = (0.25, 0.5, 0.75)  # of the words of the answer that are given


@forms.register("prefix")
def prefix(record: Record, common: Collection[str] = ()) -> tuple[Variant, ...]:
    """The answer begun at a quarter, half and three quarters of its words; the rest is scored.

    A start that holds the whole value is left out: what follows it shows nothing.
    """
    question = question_of(record)
    if question is None and record.kind != "text":
        return ()
    answer, span = record.answer.reveal(), value_span(record, common)
    words = scan(answer)
    counts = {min(max(1, round(share * len(words))), len(words) - 1) for share in SHARES} if len(words) > 1 else set()
    cuts = sorted(words[count].start for count in counts)
    prompt = None if question is None else record.answer.relabel(question)
    return tuple(
        Variant(prompt=prompt, given=record.answer.relabel(answer[:cut]), answer=record.answer.relabel(answer[cut:]))
        for cut in cuts
        if span is None or cut < span.stop
    )
