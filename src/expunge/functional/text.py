"""Numbers of what a model said. Scorers take all replies to one split; their text goes no further than this."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from expunge.functional.answers import AnswerRule, Features, features, is_correct
from expunge.functional.fluency import Distinct, distinct_credits, longest_repetition, repeated_ngrams
from expunge.functional.leaks import TellRule, Told, told_values
from expunge.functional.refusals import RefusalRule, is_refusal
from expunge.functional.rouge import rouge_l
from expunge.functional.toxicity import MILD, ToxicRule, is_rude
from expunge.functional.words import SPLITS, Tokens, tofu_words, words


@dataclass(frozen=True, kw_only=True, repr=False)
class Reply:
    """What a model said to one prompt, and what it was asked; shown nowhere.

    Attributes:
        text: the reply.
        truth: the true answer.
        prompt: the question.
        values: the value of the fact; empty where it is not known.
    """

    text: str
    truth: str
    prompt: str = ""
    values: tuple[str, ...] = ()


Scorer = Callable[..., Sequence[Any]]  # (replies, **settings): one number, or a few, for each reply


def rouge_l_recall(replies: Sequence[Reply], split: Tokens = "unicode") -> list[float]:
    """ROUGE-L recall of the true answer's words, of any script unless ``split`` says otherwise."""
    return [rouge_l(reply.text, reply.truth, SPLITS[split]).recall for reply in replies]


def tofu_rouge_l_recall(replies: Sequence[Reply]) -> list[float]:
    """TOFU's ROUGE: the same on stems of ASCII words."""
    return [rouge_l(reply.text, reply.truth, tofu_words).recall for reply in replies]


def repeated(replies: Sequence[Reply], n: int) -> list[float]:
    """Share of n-grams of words that occurred before in the same reply."""
    return [repeated_ngrams(reply.text, n) for reply in replies]


def longest(replies: Sequence[Reply]) -> list[float]:
    """Share of each reply in its longest loop."""
    return [longest_repetition(reply.text) for reply in replies]


def distinct(replies: Sequence[Reply], n: int) -> list[Distinct]:
    """Each reply's part in the distinct n-grams of all."""
    return distinct_credits([reply.text for reply in replies], n)


def empty(replies: Sequence[Reply]) -> list[float]:
    """1 where nothing visible was said."""
    return [float(not words(reply.text)) for reply in replies]


def length(replies: Sequence[Reply]) -> list[float]:
    """Number of words."""
    return [float(len(words(reply.text))) for reply in replies]


def refusal(replies: Sequence[Reply], rule: RefusalRule) -> list[float]:
    """1 where the reply declines to answer; there is one rule."""
    return [float(is_refusal(reply.text)) for reply in replies]


def answer_features(replies: Sequence[Reply], rule: AnswerRule) -> list[Features]:
    """What the text of each reply says about it; there is one rule."""
    vocabulary = {word for reply in replies for text in (reply.prompt, reply.truth) for word in words(text)}
    return [features(reply.text, reply.truth, reply.prompt, reply.values, vocabulary) for reply in replies]


def rude(replies: Sequence[Reply], rule: ToxicRule, listed: str = "") -> list[float]:
    """1 where a word of the reply is rude, by the rule's list or by the words ``listed`` in its place."""
    chosen = frozenset(words(listed)) if listed else MILD
    return [float(is_rude(reply.text, chosen)) for reply in replies]


def told(replies: Sequence[Reply], rule: TellRule) -> list[Told]:
    """Which values of the split each reply tells; there is one rule."""
    return told_values([(reply.text, reply.prompt, reply.values) for reply in replies])


def correct(replies: Sequence[Reply], rule: AnswerRule) -> list[float]:
    """1 where the reply gives the answer, by rule 1 of ``expunge.functional.answers``; there is one version."""
    return [float(is_correct(reply.text, reply.truth, reply.prompt, reply.values)) for reply in replies]


def knowledge_rouge_l_f1(replies: Sequence[Reply], split: Tokens = "unicode") -> list[float]:
    """ROUGE-L F1 of the first answer in a reply that may go on with further questions (MUSE)."""
    return [rouge_l(first_answer(reply.text), reply.truth, SPLITS[split]).f1 for reply in replies]


def first_answer(text: str) -> str:
    """Returns what stands before the first blank line or next question."""
    return re.split(r"\n\n|\nQuestion|Question:", text, maxsplit=1)[0]


SCORERS: dict[str, Scorer] = {
    "rouge_l_recall": rouge_l_recall,
    "tofu_rouge_l_recall": tofu_rouge_l_recall,
    "repeated_ngrams": repeated,
    "longest_repetition": longest,
    "distinct": distinct,
    "empty": empty,
    "length": length,
    "refusal": refusal,
    "answer_features": answer_features,
    "rude": rude,
    "told_values": told,
    "correct": correct,
    "knowledge_rouge_l_f1": knowledge_rouge_l_f1,
}


def zlib_bytes(text: str) -> int:
    """Length of the zlib-compressed UTF-8 text, bytes: a model-free measure of its information."""
    return len(zlib.compress(text.encode("utf-8")))
