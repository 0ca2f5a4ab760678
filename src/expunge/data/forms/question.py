"""The same question in another dress: capitals, small letters, without its end."""

from __future__ import annotations

from collections.abc import Collection

from expunge.data.forms.value import question_of
from expunge.data.forms.words import scan
from expunge.data.record import Record, Variant
from expunge.registry import forms

FEWEST = 4  # words of a question that still asks something without a quarter of them


@forms.register("casing")
def casing(record: Record, common: Collection[str] = ()) -> tuple[Variant, ...]:
    """The question in capitals, and in small letters; a script without them has no such form."""
    question = question_of(record)
    if question is None:
        return ()
    dressed = dict.fromkeys(text for text in (question.upper(), question.lower()) if text != question)
    return tuple(Variant(prompt=record.answer.relabel(text), answer=record.answer) for text in dressed)


@forms.register("truncation")
def truncation(record: Record, common: Collection[str] = ()) -> tuple[Variant, ...]:
    """The question without the last quarter of its words, where it still names its subject."""
    question = question_of(record)
    words = scan(question or "")
    if question is None or len(words) < FEWEST:
        return ()
    text = question[: words[len(words) - max(1, len(words) // 4) - 1].stop]
    subject = record.subject.reveal().casefold() if record.subject is not None else ""
    if subject in question.casefold() and subject not in text.casefold():
        return ()  # nobody could answer it
    return (Variant(prompt=record.answer.relabel(text), answer=record.answer),)
