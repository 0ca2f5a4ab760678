"""Guardrail: prompt, input and output filter around a model. Thaker et al., 2024, https://arxiv.org/abs/2403.03329."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from expunge.data.record import Record
from expunge.errors import InputError
from expunge.methods.base import InferenceMethod, Spec, WrapTask
from expunge.registry import methods

Continue = Callable[[Sequence[tuple[int, str]]], list[str]]  # (number of a prompt, text) to continuations


@methods.register("guardrail")
@dataclass(frozen=True, kw_only=True)
class Guardrail(InferenceMethod):
    """Refuses prompts and answers that share word sequences with the forget set and with nothing in the retain set.

    The trivial baseline of every report: weights are untouched, so whoever holds them bypasses it.
    """

    spec: ClassVar[Spec] = Spec(
        guarantee="behavioural",
        access="text",
        artefact="policy",
        reversible=True,
        memory_factor=1.0,
        needs=("forget", "retain"),
        paper="Thaker et al., 2024, https://arxiv.org/abs/2403.03329",
    )

    words: int = 2  # length of the word sequences that are compared
    filter_input: bool = True
    filter_output: bool = True
    instruction: str = ""  # put before every prompt that passes
    refusal: str = "I don't know."

    def __post_init__(self) -> None:
        """Refuses a guardrail that guards nothing."""
        if self.words < 1:
            raise InputError(f"words is the length of word sequences and at least 1, not {self.words}.")
        if not (self.filter_input or self.filter_output or self.instruction):
            raise InputError("This guardrail does nothing: switch on a filter or give an instruction.")

    def wrap(self, model: Any, task: WrapTask) -> GuardrailPolicy:
        """Returns the policy: refuses word sequences of the forget records that no retain record has.

        It keeps keyed digests of them, no text. The key stays with the policy: whoever has both can test guesses, and
        read nothing. The model is not looked at.
        """
        secret = task.secret
        allowed_prompt, allowed_answer = _sequences(task.retain, lambda text: _all_digests(text, self.words, secret))
        forget_prompt, forget_answer = _sequences(task.forget, lambda text: _digests(text, self.words, secret))
        return GuardrailPolicy(
            settings=self,
            secret=secret,
            prompt_digests=frozenset(forget_prompt - allowed_prompt),
            answer_digests=frozenset(forget_answer - allowed_answer - allowed_prompt),
        )


@dataclass(frozen=True)
class GuardrailPolicy:
    """What stands between a user and the model."""

    settings: Guardrail
    secret: bytes
    prompt_digests: frozenset[str]
    answer_digests: frozenset[str]

    def generate(self, prompts: Sequence[str], answer: Continue) -> list[str]:
        """Answers prompts.

        Args:
            prompts: what users ask.
            answer: the bare model: (number of the prompt, text) in, continuations out.
        """
        passed = [
            number for number, prompt in enumerate(prompts) if not self._refuses(prompt, self.prompt_digests, "input")
        ]
        texts = answer([(number, self.settings.instruction + prompts[number]) for number in passed]) if passed else []
        found = [self.settings.refusal] * len(prompts)
        for number, text in zip(passed, texts, strict=True):
            if not self._refuses(text, self.answer_digests, "output"):
                found[number] = text
        return found

    def to_plain(self) -> dict[str, Any]:
        """Returns what to write to disk: settings, key and digests."""
        return {
            "kind": "guardrail",
            "version": 1,
            "settings": vars(self.settings),
            "secret": self.secret.hex(),
            "prompt_digests": sorted(self.prompt_digests),
            "answer_digests": sorted(self.answer_digests),
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> GuardrailPolicy:
        """Reads what ``to_plain`` wrote."""
        if plain.get("kind") != "guardrail" or plain.get("version") != 1:
            raise InputError("This is not a guardrail policy of version 1.")
        return cls(
            Guardrail(**plain["settings"]),
            bytes.fromhex(plain["secret"]),
            frozenset(plain["prompt_digests"]),
            frozenset(plain["answer_digests"]),
        )

    def _refuses(self, text: str, digests: frozenset[str], side: str) -> bool:
        active = self.settings.filter_input if side == "input" else self.settings.filter_output
        return active and not digests.isdisjoint(_all_digests(text, self.settings.words, self.secret))


def _sequences(records: Iterable[Record], digests: Callable[[str], set[str]]) -> tuple[set[str], set[str]]:
    """Digests of all prompts and of all answers; a plain text counts as both."""
    prompts: set[str] = set()
    answers: set[str] = set()
    for record in records:
        answers |= digests(record.answer.reveal())
        asked = [text.reveal() for turn in record.messages for text in turn.texts]
        asked += [text.reveal() for text in (record.prompt, record.subject) if text is not None]
        for text in asked or [record.answer.reveal()]:
            prompts |= digests(text)
    return prompts, answers


def _all_digests(text: str, words: int, secret: bytes) -> set[str]:
    """Digests of all runs of at most ``words`` words: an answer of one word is found inside a sentence too."""
    return set().union(*(_digests(text, count, secret) for count in range(1, words + 1)))


def _digests(text: str, words: int, secret: bytes) -> set[str]:
    """Digests of all runs of ``words`` words (Unicode, case folded); a shorter text is one run."""
    found = re.findall(r"\w+", text.casefold())
    size = min(words, len(found))
    runs = (" ".join(found[start : start + size]) for start in range(len(found) - size + 1)) if size else ()
    return {hmac.new(secret, run.encode(), hashlib.sha256).hexdigest()[:32] for run in runs}
