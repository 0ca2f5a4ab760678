"""In-context attacks: other facts before the question, or the fact itself."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

from expunge.attacks.asking import ask, asked, holds, rewritten, values_of
from expunge.attacks.base import AttackTask, PromptAttack, Threat
from expunge.data.forms.value import common_words, question_of
from expunge.data.forms.words import STOP
from expunge.data.record import Message, Record
from expunge.data.tokenize import answer_text
from expunge.data.transforms import is_about_same, with_lead
from expunge.data.words import fold, trained_text, words
from expunge.errors import InputError
from expunge.registry import attacks
from expunge.storage.secret import Secret

Whose = Literal["same", "others"]


@attacks.register("in_context")
@dataclass(frozen=True, kw_only=True)
class InContext(PromptAttack):
    """Shows a few other facts before the question.

    ``same_person``: of the record's subject, from the forget set; ``retain_persons`` and ``forget_persons``: of others.
    A fact that is shown shares no word of the asked value, so that it is neither another wording of the asked fact nor
    has its answer, and no two shown facts are one. Where there are fewer facts, fewer are shown; a record without
    any, or without a subject for ``same_person``, is left out. Departure: the facts are drawn by seed, not chosen.

    Attributes:
        shots: facts before the question.
    """

    threat: ClassVar[Threat] = Threat(
        family="prompts",
        access="prompts",
        paper="Lynch et al., 2024, https://arxiv.org/abs/2402.16835",
        splits=("retain",),
    )
    title: ClassVar[str] = "other facts in the context"
    # Five facts of a person are all that many have; more of them would not fit a short model either.
    paper_budget: ClassVar[Mapping[str, Any]] = {"shots": 5}

    shots: int = 3

    def __post_init__(self) -> None:
        """Refuses prompts that show nothing."""
        if self.shots < 1:
            raise InputError(f"shots is the number of facts before the question and at least 1, not {self.shots}.")

    def rewrite(self, task: AttackTask) -> Mapping[str, Sequence[Record | None]]:
        """Three wordings."""
        forget, retain = _Shelf(task.forget), _Shelf(task.splits.get("retain", ()))

        def shown(record: Record, shelf: _Shelf, whose: Whose, name: str) -> Record | None:
            if record.kind == "messages" and asked(record) is None:
                return None
            rng = random.Random(f"{task.seed}:in_context:{name}:{record.index}")  # noqa: S311 - reproducible draws
            found = shelf.take(record, forget.telling(record), whose, self.shots, rng)
            return _after(record, found) if found else None

        return rewritten(
            task.forget,
            {
                "same_person": partial(shown, shelf=forget, whose="same", name="same_person"),
                "retain_persons": partial(shown, shelf=retain, whose="others", name="retain_persons"),
                "forget_persons": partial(shown, shelf=forget, whose="others", name="forget_persons"),
            },
        )


class _Shelf:
    """Records that may be shown, and their words."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self._common = common_words(records)
        self._words = [frozenset(words(fold(trained_text(record)))) for record in records]
        self._telling: dict[tuple[str, int], frozenset[str]] = {}
        self._of: dict[Secret, list[int]] = defaultdict(list)
        for place, record in enumerate(records):
            if record.subject is not None:
                self._of[record.subject].append(place)

    def telling(self, record: Record) -> frozenset[str]:
        """Words of the value of one of the records, see ``_telling``."""
        key = (record.split, record.index)
        if key not in self._telling:
            self._telling[key] = _telling(record, self._common)
        return self._telling[key]

    def take(
        self, record: Record, telling: frozenset[str], whose: Whose, count: int, rng: random.Random
    ) -> list[Record]:
        """Returns at most ``count`` records to show before one, drawn among those that may be.

        Args:
            record: what is asked.
            telling: words of its value, which no shown record has.
            whose: records of its subject, or of others.
            count: how many.
            rng: of the draws.
        """
        mine = [] if record.subject is None else self._of.get(record.subject, [])
        places = mine if whose == "same" else range(len(self._records))
        found: list[int] = []
        for place in (places[drawn] for drawn in _draws(rng, len(places))):
            if len(found) == count:
                break
            if not telling & self._words[place] and self._may(record, place, whose) and self._is_new(place, found):
                found.append(place)
        return [self._records[place] for place in found]

    def _may(self, record: Record, place: int, whose: Whose) -> bool:
        one = self._records[place]
        if asked(record) is not None and (question_of(one) is None or question_of(one) == asked(record)):
            return False  # it cannot be shown as an answered question, or answers this one
        if whose == "same":
            return (one.split, one.index) != (record.split, record.index)
        return not is_about_same(one, record) and not self._names(place, record.subject)

    def _names(self, place: int, subject: Secret | None) -> bool:
        return subject is not None and holds(trained_text(self._records[place]), subject.reveal())

    def _is_new(self, place: int, found: Sequence[int]) -> bool:
        telling = self.telling(self._records[place])
        return not any(telling & self._words[other] for other in found)


def _telling(record: Record, common: Collection[str]) -> frozenset[str]:
    """Words of the value that nothing else of the record has."""
    values = frozenset(word for value in values_of(record, common) for word in words(fold(value)))
    about = "" if record.subject is None else record.subject.reveal()
    own = values - STOP - set(words(fold(f"{question_of(record) or ''} {about}")))
    return own or values


def _draws(rng: random.Random, count: int) -> Iterator[int]:
    """All numbers below ``count`` in random order, drawn one by one: mostly a few are enough."""
    seen: set[int] = set()
    while len(seen) < count:
        drawn = rng.randrange(count)
        if drawn not in seen:
            seen.add(drawn)
            yield drawn


def _after(record: Record, shots: Sequence[Record]) -> Record:
    """The record after others, in the shape of its own kind.

    A question renders as ``Question: ...`` and ``Answer: ...``, so the first of them has its mark from there and what
    is asked gets a new one. A conversation has them as turns of their own, behind what the system says.
    """
    pairs = [((question_of(one) or "").strip(), answer_text(one).strip()) for one in shots]
    if record.kind == "messages":
        return _after_turns(record, pairs)
    if record.kind == "qa":
        return with_lead(record, "".join(f"{question}\nAnswer: {answer}\n\nQuestion: " for question, answer in pairs))
    return with_lead(record, "".join(f"{_whole(one)}\n\n" for one in shots))


def _after_turns(record: Record, pairs: Sequence[tuple[str, str]]) -> Record:
    turns = [
        Message(role=role, content=record.answer.relabel(text))
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    first = next((place for place, turn in enumerate(record.messages) if turn.role != "system"), 0)
    return replace(record, messages=(*record.messages[:first], *turns, *record.messages[first:]))


def _whole(record: Record) -> str:
    """A record as running text; a completion follows its prompt verbatim."""
    question, answer = question_of(record), answer_text(record)
    if question is None:
        return answer.strip()
    return (question + answer if record.kind == "completion" else f"{question} {answer}").strip()


@attacks.register("in_context_text")
@dataclass(frozen=True, kw_only=True)
class InContextText(PromptAttack):
    """Puts the fact itself before the question: what a context brings back, a model need not have kept.

    A retrained model succeeds as well, so that an excess near 0 is what is expected; a model below the retrained one
    refuses rather than forgets. ``note``: question and answer in a sentence; ``answered``: the question answered
    once before; ``biography``: the record's form of this name.
    """

    threat: ClassVar[Threat] = Threat(
        family="prompts", access="prompts", paper="Shumailov et al., 2024, https://arxiv.org/abs/2407.00106"
    )
    decides: ClassVar[bool] = False  # the answer stands in the prompt: who copies better knows no more
    title: ClassVar[str] = "the fact itself in the context"

    def rewrite(self, task: AttackTask) -> Mapping[str, Sequence[Record | None]]:
        """Three wordings, which alone of all attacks hold the answer."""
        return {
            "note": [_noted(record, _whole(record)) for record in task.forget],
            "answered": [None if asked(one) is None else _after(one, [one]) for one in task.forget],
            "biography": [_with_biography(record) for record in task.forget],
        }


def _noted(record: Record, text: str) -> Record:
    note = f"Note: {text}\n\n"
    question = asked(record)
    return with_lead(record, note) if question is None else ask(record, note + question)


def _with_biography(record: Record) -> Record | None:
    found = next(iter(record.forms("biography")), None)
    if found is None or record.kind == "text":
        return None
    return _noted(record, answer_text(found))
