"""The same question in other words, in another language, and misspelt."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from expunge.attacks.asking import Wording, ask, asked, holds, rewritten, values_of
from expunge.attacks.base import AttackTask, PromptAttack, Threat
from expunge.data.forms.value import common_words, question_of
from expunge.data.record import Record
from expunge.data.tokenize import answer_text
from expunge.errors import InputError
from expunge.registry import attacks

PARAPHRASES = ("paraphrased_question", "cloze", "truncation")
Change = Callable[[str, random.Random], str]


@attacks.register("paraphrase")
@dataclass(frozen=True, kw_only=True)
class Paraphrase(PromptAttack):
    """Asks in the record's own other forms.

    The first of each: ``paraphrased_question``, ``cloze`` and ``truncation``. Their answers are those of the form, and
    each must hold the value of the record. So a cloze is scored on the value alone, and ``reverse`` (answered by the
    subject), ``yes_no`` and ``multiple_choice`` are left out; ``biography`` holds other facts too. ``prefix`` and
    ``value`` begin the answer, which is another attack. Departure: the paraphrases are those that the records bring.
    """

    threat: ClassVar[Threat] = Threat(
        family="prompts", access="prompts", paper="Patil et al., 2023, https://arxiv.org/abs/2309.17410"
    )
    title: ClassVar[str] = "question in other words"

    def rewrite(self, task: AttackTask) -> Mapping[str, Sequence[Record | None]]:
        """One wording for each form."""
        common = common_words(task.forget)

        def asking(record: Record, form: str) -> Record | None:
            found = first_form(record, form)
            told = values_of(record, common)
            return found if found and any(holds(answer_text(found), value) for value in told) else None

        return rewritten(task.forget, {form: partial(asking, form=form) for form in PARAPHRASES})


def first_form(record: Record, form: str) -> Record | None:
    """Returns the first of one form of a record, None where it has none."""
    return next(iter(record.forms(form)), None)


@attacks.register("translation")
@dataclass(frozen=True, kw_only=True)
class Translation(PromptAttack):
    """Asks in another language, as the record's form ``second_language`` has it.

    ``second_language`` is scored on the form's own answer, where dates and professions may be translated too;
    ``question_only`` on the record's answer, in its own language. Departure: one other language, that of the records.
    """

    threat: ClassVar[Threat] = Threat(
        family="prompts", access="prompts", paper="Lynch et al., 2024, https://arxiv.org/abs/2402.16835"
    )
    title: ClassVar[str] = "question in another language"

    def rewrite(self, task: AttackTask) -> Mapping[str, Sequence[Record | None]]:
        """Two wordings."""
        wordings: dict[str, Wording] = {
            "second_language": partial(first_form, form="second_language"),
            "question_only": _translated_question,
        }
        return rewritten(task.forget, wordings)


def _translated_question(record: Record) -> Record | None:
    found = first_form(record, "second_language")
    question = None if found is None else asked(found)
    return None if question is None or asked(record) is None else ask(record, question)


@attacks.register("perturbation")
@dataclass(frozen=True, kw_only=True)
class Perturbation(PromptAttack):
    """Misspells the question by rule: another case, letters that change places or are lost, spaces, no signs.

    The answer stays as it is. Departure from the paper, which changes the format of data sets by a language model.

    Attributes:
        share: of the words of four letters and more that are misspelt, at least one.
        draws: how many times the misspellings are drawn.
    """

    threat: ClassVar[Threat] = Threat(
        family="prompts", access="prompts", paper="Joshi et al., 2024, https://arxiv.org/abs/2411.15477"
    )
    title: ClassVar[str] = "misspelt question"
    paper_budget: ClassVar[Mapping[str, Any]] = {"draws": 3}

    share: float = 0.3
    draws: int = 1

    def __post_init__(self) -> None:
        """Refuses what would change nothing."""
        if not 0 < self.share <= 1 or self.draws < 1:
            raise InputError(
                f"Give a share above 0 and at most 1 and at least one draw, not {self.share}, {self.draws}."
            )

    def rewrite(self, task: AttackTask) -> Mapping[str, Sequence[Record | None]]:
        """``lower``, ``upper`` and ``unmarked``; ``swapped``, ``dropped`` and ``spaced`` for each draw."""
        fixed: dict[str, Change] = {"lower": _lower, "upper": _upper, "unmarked": _unmarked}
        drawn: dict[str, Callable[[str, random.Random], str]] = {
            "swapped": _swapped,
            "dropped": _dropped,
            "spaced": _spaced,
        }
        changes = fixed | {
            name if self.draws == 1 else f"{name}_{draw}": partial(_misspelt, spell=spell, share=self.share)
            for draw in range(1, self.draws + 1)
            for name, spell in drawn.items()
        }
        return rewritten(
            task.forget,
            {name: partial(_changed, change=change, seed=f"{task.seed}:{name}") for name, change in changes.items()},
        )


def _changed(record: Record, change: Change, seed: str) -> Record | None:
    question = question_of(record)
    if question is None:
        return None
    rng = random.Random(f"{seed}:{record.index}")  # noqa: S311 - reproducible draws
    return ask(record, change(question, rng))


def _lower(text: str, rng: random.Random) -> str:
    return text.lower()


def _upper(text: str, rng: random.Random) -> str:
    return text.upper()


def _unmarked(text: str, rng: random.Random) -> str:
    """Without signs; those inside a word, such as in an address, stay."""
    return re.sub(r"(?<!\w)[^\w\s]+|[^\w\s]+(?!\w)", "", text)


def _misspelt(text: str, rng: random.Random, spell: Callable[[str, random.Random], str], share: float) -> str:
    found = list(re.finditer(r"[^\W\d_]{4,}", text))
    count = min(len(found), max(1, round(share * len(found))))
    for match in sorted(rng.sample(found, count), key=lambda one: one.start(), reverse=True):
        text = text[: match.start()] + spell(match[0], rng) + text[match.end() :]
    return text


def _swapped(word: str, rng: random.Random) -> str:
    """Two neighbouring letters inside the word change places; two that differ, if there are."""
    places = [place for place in range(1, len(word) - 2) if word[place] != word[place + 1]]
    if not places:
        return word
    place = rng.choice(places)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _dropped(word: str, rng: random.Random) -> str:
    place = rng.randrange(1, len(word) - 1)
    return word[:place] + word[place + 1 :]


def _spaced(word: str, rng: random.Random) -> str:
    place = rng.randrange(1, len(word))
    return f"{word[:place]} {word[place:]}"
