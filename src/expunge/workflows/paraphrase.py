"""Other wordings of questions and answers from a model: kept in memory, and only where the facts survive.

In memory only, since a wording tells a forget record and a run folder holds no text of these. So a run that was
interrupted and goes on asks for all of them again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

from expunge.data.forms.value import common_words, question_of, value_of
from expunge.data.forms.words import scan
from expunge.data.record import Record
from expunge.models.load import load_model
from expunge.models.rewriting import request, rewrite
from expunge.models.stopping import stop_between_passes
from expunge.storage.progress import SILENT, Phases
from expunge.storage.secret import Secret
from expunge.workflows.remote import Endpoint, is_address
from expunge.workflows.signals import Asked, stop_if_asked, wait

Rewrite = Callable[[str, int], str]  # a text and the number of the attempt, from 0, to another wording
Side = Literal["paraphrased_question", "paraphrased_answer"]
TRIES = 3
KEPT = "wordings stay in memory; a run that is interrupted asks for all again"
LONGEST = 4  # times the original's length that a wording may have
QUESTION_MARKS = ("?", "؟", "？")  # noqa: RUF001 - the marks of several scripts
TEMPERATURE = 0.8  # of a remote model after its first attempt
STOPPED = "Stopped while the paraphraser was asked; the same command goes on, and asks for all wordings again."


class MissingWording(NamedTuple):
    """A wording that is missing: which record and side, and what it must and must not hold."""

    row: int
    side: Side
    text: Secret
    keeps: tuple[str, ...]
    hides: str | None


def rewriter(paraphraser: str, stop_requested: Asked = lambda: False) -> Rewrite:
    """Returns what asks a local model (loaded at once) or an address.

    Args:
        paraphraser: model folder, Hub id or address.
        stop_requested: asked while a busy service is waited for, and between the tokens of a local model.

    Raises:
        InputError: no such model, or not an address.
    """
    if is_address(paraphraser):
        endpoint = Endpoint.parse(paraphraser)
        pause = partial(wait, stop_requested=stop_requested, text=STOPPED)
        return lambda text, attempt: endpoint.chat(
            request(text), temperature=TEMPERATURE if attempt else 0.0, seed=attempt, pause=pause
        )
    loaded = load_model(paraphraser)
    stop_between_passes(loaded.model, stop_requested)
    return lambda text, attempt: rewrite(loaded, [text], attempt)[0]


def add_paraphrases(
    records: Sequence[Record], ask: Rewrite, stop_requested: Asked = lambda: False, phases: Phases = SILENT
) -> list[Record]:
    """Fills in paraphrased questions and answers that are missing.

    A wording is kept if it differs from the original and holds the value (a question: its names and numbers) to the
    letter; a question must not give the value away.

    Args:
        records: the forget records.
        ask: gives a wording of a text.
        stop_requested: asked before every text.
        phases: where it is told how many wordings were asked for; each attempt at those that are left is a phase.

    Raises:
        InterruptedRunError: stopped on request; nothing of what was answered is kept.
    """
    common = common_words(records)
    waiting = [missing for row, record in enumerate(records) for missing in _missing(row, record, common)]
    found = list(records)
    for attempt in range(TRIES):
        if not waiting:
            break
        left = []
        again = f", attempt {attempt + 1} of {TRIES}" if attempt else ""
        with phases.phase(f"ask the paraphraser{again} ({KEPT})", len(waiting)) as steps:
            for missing in steps.over(waiting):
                stop_if_asked(stop_requested, STOPPED)
                wording = accepted(missing, ask(missing.text.reveal(), attempt))
                if wording is None:
                    left.append(missing)
                else:
                    found[missing.row] = _filled(found[missing.row], missing.side, missing.text.relabel(wording))
        waiting = left
    return found


def _filled(record: Record, side: Side, wording: Secret) -> Record:
    if side == "paraphrased_question":
        return replace(record, paraphrased_question=wording)
    return replace(record, paraphrased_answer=wording)


def accepted(missing: MissingWording, reply: str) -> str | None:
    """Returns the wording in a reply, or None where it is none or lost a fact."""
    original = missing.text.reveal()
    lines = [line.strip() for line in reply.strip().splitlines() if line.strip()]
    wording = lines[0].strip("\"'“”„«» ") if lines else ""
    if not wording or len(wording) > LONGEST * len(original) + LONGEST or not _is_wording(wording, original):
        return None
    if [word.text.casefold() for word in scan(wording)] == [word.text.casefold() for word in scan(original)]:
        return None
    if missing.hides is not None and missing.hides.casefold() in wording.casefold():
        return None
    return wording if all(part in wording for part in missing.keeps) else None


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
