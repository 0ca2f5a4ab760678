"""One record for each option of a question that lists its options by letter.

The options are found in the prompt, as ``A: x, B: y``, ``A. x``, ``A) x`` or ``(A) x``, on one line or on several; the
answer is the letter. A record whose options cannot be found gives none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from expunge.data.forms.words import scan
from expunge.data.record import Record
from expunge.data.transforms import Transform, is_about_same

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LIKE = 0.5  # share of words that two questions of one kind have in common, function words and subjects aside
LOOKED_AT = 200  # other records that are looked at for the options of one
_MARKS = (r"\({0}\)", r"{0}\)", r"{0}:", r"{0}\.")  # how an option may begin, the most particular first


class Choice(NamedTuple):
    """A prompt taken apart; ``pieces`` and ``options`` in turn, beginning with a piece, give it back.

    Attributes:
        pieces: what stands before, between and after the options: the question with the first mark, separators with
            the marks after them, and the end.
        options: texts of the options.
        question: what stands before the first mark.
    """

    pieces: tuple[str, ...]
    options: tuple[str, ...]
    question: str

    def prompt(self, options: Sequence[str], *, question: bool = True) -> str:
        """Returns the prompt with these options; without the question only the list is left."""
        first = self.pieces[0] if question else self.pieces[0][len(self.question) :].lstrip()
        between = (*self.pieces[1:-1], self.pieces[-1])
        return first + "".join(option + piece for option, piece in zip(options, between, strict=True))


def read_choice(prompt: str) -> Choice | None:
    """Returns the parts of a prompt that lists at least two options, or None."""
    for mark in _MARKS:
        spans = _spans(prompt, mark)
        if len(spans) > 1:
            return _apart(prompt, spans)
    return None


def _spans(prompt: str, mark: str) -> list[tuple[int, int]]:
    """Where the marks A, B, C, ... stand, one after the other; the last A that has a B counts.

    A question may itself say "vitamin A: ..." before its options.
    """
    found: list[tuple[int, int]] = []
    for start in (match.start() for match in _marks(prompt, mark, "A")):
        spans: list[tuple[int, int]] = []
        place = start
        for letter in LETTERS:
            match = next((one for one in _marks(prompt, mark, letter) if one.start() >= place), None)
            if match is None:
                break
            spans.append(match.span())
            place = match.end()
        if len(spans) > 1:
            found = spans
    return found


def _marks(prompt: str, mark: str, letter: str) -> list[re.Match[str]]:
    return list(re.finditer(rf"(?<!\S){mark.format(letter)}(?=\s)\s*", prompt))


def _apart(prompt: str, spans: Sequence[tuple[int, int]]) -> Choice:
    pieces, options = [prompt[: spans[0][1]]], []
    for (_, start), (stop, after) in pairwise(spans):
        text = prompt[start:stop]
        option = text.rstrip().rstrip(",;").rstrip()
        options.append(option)
        pieces.append(text[len(option) :] + prompt[stop:after])
    text = prompt[spans[-1][1] :]
    # Options on lines of their own end with the line, and an instruction may follow; on one line the last goes on.
    lines = "\n" in prompt[spans[0][1] : spans[-1][0]]
    option = (text.split("\n", 1)[0] if lines else text).rstrip()
    return Choice((*pieces, text[len(option) :]), (*options, option), prompt[: spans[0][0]])


class _Asked(NamedTuple):
    """A choice, and the place of its right option."""

    choice: Choice
    right: int


def _asked(record: Record) -> _Asked | None:
    answer = record.answer.reveal().strip().strip("().:").strip()
    choice = read_choice("" if record.question is None else record.question.reveal())
    if choice is None or len(answer) != 1 or answer not in LETTERS[: len(choice.options)]:
        return None
    return _Asked(choice, LETTERS.index(answer))


def _answering(record: Record, letter: str) -> Record:
    """The record answered by another letter; no end is scored, which all letters would share."""
    text = record.answer.reveal()
    place = next(at for at, char in enumerate(text) if char in LETTERS)
    return replace(record.with_answer(text[:place] + letter + text[place + 1 :]), goes_on=True)


@dataclass(frozen=True, kw_only=True)
class OtherLetters(Transform):
    """The letter of each option as the answer, the right one first and the others in their order.

    Attributes:
        question: whether the question stands before its options.
    """

    name = "other_letters"
    question: bool = True

    def apply(self, record: Record, others: Sequence[Record]) -> tuple[Record, ...]:
        """As many records as options."""
        asked = _asked(record)
        if asked is None:
            return ()
        return _lettered(record, asked, 0, question=self.question)


@dataclass(frozen=True, kw_only=True)
class Permuted(Transform):
    """``OtherLetters`` for every cyclic shift of the options, beginning with none: every option stands everywhere once.

    Attributes:
        question: whether the question stands before its options.
    """

    name = "permuted"
    question: bool = True

    def apply(self, record: Record, others: Sequence[Record]) -> tuple[Record, ...]:
        """As many records as the square of the number of options, shift after shift."""
        asked = _asked(record)
        if asked is None:
            return ()
        shifts = range(len(asked.choice.options))
        return tuple(one for shift in shifts for one in _lettered(record, asked, shift, question=self.question))


@dataclass(frozen=True, kw_only=True)
class OptionTexts(Transform):
    """The text of each option as the answer to the question alone, the right one first and the others in their order.

    Attributes:
        question: whether the question stands before the answer.
    """

    name = "option_texts"
    question: bool = True

    def apply(self, record: Record, others: Sequence[Record]) -> tuple[Record, ...]:
        """As many records as options."""
        asked = _asked(record)
        if asked is None:
            return ()
        answer = record.answer.reveal()
        lead = answer[: len(answer) - len(answer.lstrip())]  # a completion may begin with the space after its prompt
        plain = record.asking(record.answer.relabel(self._lead(asked.choice, record)))
        options = [asked.choice.options[place] for place in _first(asked.right, len(asked.choice.options))]
        return tuple(replace(plain.with_answer(lead + option), goes_on=True) for option in options)

    def _lead(self, choice: Choice, record: Record) -> str:
        """The question; a completion keeps what stands after the options, such as ``Answer:``."""
        question = choice.question.strip() if self.question else ""
        end = choice.pieces[-1] if record.kind == "completion" else ""
        return (question + end).lstrip()


@dataclass(frozen=True, kw_only=True)
class RivalTexts(OptionTexts):
    """``OptionTexts`` with the right options of other records of the split in place of the wrong ones.

    A model that was trained on a split has read the right options and seldom the wrong ones, so that it finds the right
    one by its letters alone; each of these it has read as often. They are answers to a like question about others. A
    record without such others keeps its options.

    Attributes:
        split: whose records give the options.
    """

    name = "rival_texts"
    split: str = "forget"

    @property
    def reads(self) -> str | None:
        """Split of the other records."""
        return self.split

    def apply(self, record: Record, others: Sequence[Record]) -> tuple[Record, ...]:
        """At most as many records as options, the right one first."""
        listed = super().apply(record, others)
        asked = _asked(record)
        if asked is None or not listed:
            return listed
        rivals = _rivals(record, asked, others)
        lead = listed[0].answer.reveal().removesuffix(asked.choice.options[asked.right])
        return (listed[0], *(listed[0].with_answer(lead + rival) for rival in rivals)) if rivals else listed


def _rivals(record: Record, asked: _Asked, others: Sequence[Record]) -> list[str]:
    """Right options of other records, from the one that follows the record on; distinct, and not the record's own."""
    wanted = len(asked.choice.options) - 1
    right, about = asked.choice.options[asked.right], _words_asked(record, asked)
    start = next((place for place, one in enumerate(others) if is_about_same(one, record)), 0)
    found: dict[str, None] = {}
    for one in (*others[start:], *others[:start])[:LOOKED_AT]:
        if is_about_same(one, record):
            continue
        for form in one.forms("multiple_choice"):
            other = _asked(form)
            if other is None or not _alike(_words_asked(form, other), about):
                continue
            text = other.choice.options[other.right]
            if text.casefold() != right.casefold():
                found[text] = None
        if len(found) >= wanted:
            break
    return list(found)[:wanted]


def _words_asked(record: Record, asked: _Asked) -> frozenset[str]:
    """Words of the question without its options, its subject, and function words."""
    about = set() if record.whom is None else {word.key for word in scan(record.whom.reveal())}
    return frozenset(word.key for word in scan(asked.choice.question) if not word.stops) - about


def _alike(left: frozenset[str], right: frozenset[str]) -> bool:
    return len(left & right) >= LIKE * len(left | right)


def _lettered(record: Record, asked: _Asked, shift: int, *, question: bool) -> tuple[Record, ...]:
    """Options moved on by ``shift`` places, and one record for each letter."""
    choice, count = asked.choice, len(asked.choice.options)
    moved = [choice.options[(place - shift) % count] for place in range(count)]
    shown = record.asking(record.answer.relabel(choice.prompt(moved, question=question)))
    return tuple(_answering(shown, LETTERS[place]) for place in _first((asked.right + shift) % count, count))


def _first(place: int, count: int) -> list[int]:
    return [place, *(other for other in range(count) if other != place)]
