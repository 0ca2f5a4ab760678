"""Other wordings of questions and answers from a model: kept in memory, and only where the facts survive."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from expunge.data.forms.value import common_words, question_of, value_of
from expunge.data.forms.words import scan
from expunge.data.record import Record
from expunge.models.load import load_model
from expunge.models.rewriting import request, rewrite
from expunge.storage.secret import Secret
from expunge.workflows.remote import Endpoint

Rewrite = Callable[[Sequence[str], int], list[str]]  # texts and number of the attempt, from 0, to other wordings
Side = Literal["paraphrased_question", "paraphrased_answer"]
TRIES = 3
LONGEST = 4  # times the original's length that a wording may have
QUESTION_MARKS = ("?", "؟", "？")  # noqa: RUF001 - the marks of several scripts
TEMPERATURE = 0.8  # of a remote model after its first attempt


class MissingWording(NamedTuple):
    """A wording that is missing: which record and side, and what it must and must not hold."""

    row: int
    side: Side
    text: Secret
    keeps: tuple[str, ...]
    hides: str | None


def is_remote(paraphraser: str) -> bool:
    """Whether a paraphraser is an address instead of a folder or Hub id."""
    return "://" in paraphraser


def rewriter(paraphraser: str) -> Rewrite:
    """Returns what asks a local model (loaded at once) or an address.

    Raises:
        InputError: no such model, or not an address.
    """
    if is_remote(paraphraser):
        endpoint = Endpoint.parse(paraphraser)
        return lambda texts, attempt: [
            endpoint.chat(request(text), temperature=TEMPERATURE if attempt else 0.0, seed=attempt) for text in texts
        ]
    loaded = load_model(paraphraser)
    return lambda texts, attempt: rewrite(loaded, texts, attempt)


def add_paraphrases(records: Sequence[Record], ask: Rewrite) -> list[Record]:
    """Fills in paraphrased questions and answers that are missing.

    A wording is kept if it differs from the original and holds the value (a question: its names and numbers) to the
    letter; a question must not give the value away.
    """
    common = common_words(records)
    waiting = [wanted for row, record in enumerate(records) for wanted in _missing(row, record, common)]
    found = list(records)
    for attempt in range(TRIES):
        if not waiting:
            break
        replies = ask([wanted.text.reveal() for wanted in waiting], attempt)
        left = []
        for wanted, reply in zip(waiting, replies, strict=True):
            wording = accepted(wanted, reply)
            if wording is None:
                left.append(wanted)
            else:
                found[wanted.row] = _filled(found[wanted.row], wanted.side, wanted.text.relabel(wording))
        waiting = left
    return found


def _filled(record: Record, side: Side, wording: Secret) -> Record:
    if side == "paraphrased_question":
        return replace(record, paraphrased_question=wording)
    return replace(record, paraphrased_answer=wording)


def accepted(wanted: MissingWording, reply: str) -> str | None:
    """Returns the wording in a reply, or None where it is none or lost a fact."""
    original = wanted.text.reveal()
    lines = [line.strip() for line in reply.strip().splitlines() if line.strip()]
    wording = lines[0].strip("\"'“”„«» ") if lines else ""
    if not wording or len(wording) > LONGEST * len(original) + LONGEST or not _is_wording(wording, original):
        return None
    if [word.text.casefold() for word in scan(wording)] == [word.text.casefold() for word in scan(original)]:
        return None
    if wanted.hides is not None and wanted.hides.casefold() in wording.casefold():
        return None
    return wording if all(part in wording for part in wanted.keeps) else None


def _is_wording(wording: str, original: str) -> bool:
    """Whether a line can be what was asked for: no markup, announcement or broken text; a question stays one."""
    if wording.startswith("<") or wording.endswith((":", "：")):  # noqa: RUF001 - full width
        return False
    if any("\ud800" <= character <= "\udfff" for character in wording):
        return False  # no tokenizer reads half a character
    return original.rstrip()[-1:] not in QUESTION_MARKS or wording[-1:] in QUESTION_MARKS


def _missing(row: int, record: Record, common: Collection[str]) -> list[MissingWording]:
    value, question = value_of(record, common), question_of(record)
    subject = record.subject.reveal() if record.subject is not None else None
    found = []
    if record.paraphrased_question is None and question is not None:
        # A capital may be the first word's, so only later ones are names.
        names = [word.text for number, word in enumerate(scan(question)) if word.specific or (number and word.marked)]
        keeps = _present((subject, *names), question)
        hides = value if value is not None and value not in question else None
        found.append(MissingWording(row, "paraphrased_question", record.answer.relabel(question), keeps, hides))
    if record.paraphrased_answer is None and value is not None:
        keeps = _present((subject, value), record.answer.reveal())
        found.append(MissingWording(row, "paraphrased_answer", record.answer, keeps, None))
    return found


def _present(parts: Sequence[str | None], text: str) -> tuple[str, ...]:
    return tuple(part for part in parts if part is not None and part in text)
