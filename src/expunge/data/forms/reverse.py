"""Reverse: from what is said of a subject to the subject. Berglund et al., 2024, https://arxiv.org/abs/2309.12288."""

from __future__ import annotations

import re
from collections.abc import Collection

from expunge.data.forms.statement import GAP, as_prompt
from expunge.data.forms.value import question_of, value_of
from expunge.data.record import Record, Variant
from expunge.registry import forms


@forms.register("reverse")
def reverse(record: Record, common: Collection[str] = ()) -> tuple[Variant, ...]:
    """Who is meant: the statement without its subject, answered by the subject."""
    value = value_of(record, common)
    if record.subject is None or value is None:
        return ()
    subject = record.subject.reveal()
    mentions = _mentions(subject)
    question, answer = question_of(record) or "", record.answer.reveal()
    joined = question + answer if record.kind == "completion" else f"{question} {answer}"
    found = answer if mentions.search(answer) and record.kind != "completion" else joined
    gapped, count = mentions.subn(GAP, found)
    # Without the value nothing says who is meant, and with the value in the name the name is asked from itself.
    if not count or value not in gapped:
        return ()
    prompt = as_prompt(record, gapped.strip())
    return (Variant(prompt=record.answer.relabel(prompt), answer=record.answer.relabel(subject)),)


def _mentions(subject: str) -> re.Pattern[str]:
    """Finds a subject in any case; where a script has cases, words have bounds too: Ann is not in Anna."""
    before = r"(?<!\w)" if subject[0].isupper() or subject[0].islower() else ""
    after = r"(?!\w)" if subject[-1].isupper() or subject[-1].islower() else ""
    return re.compile(before + re.escape(subject) + after, re.IGNORECASE)
