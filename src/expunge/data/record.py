"""One record of a user's data, whatever shape its file had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from expunge.errors import InputError
from expunge.storage.secret import Secret

Kind = Literal["text", "completion", "qa", "messages"]

# Every way to ask for what a record says. A model that forgot one of them only did not forget.
FORMS = {
    "trained": "the record as it was trained on",
    "paraphrased_question": "the question in other words",
    "paraphrased_answer": "the answer in other words",
    "perturbed_answer": "wrong answers of the same shape",
    "cloze": "the value left out of the statement",
    "multiple_choice": "a choice of four, answered by its letter",
    "reverse": "who is meant, asked from the value",
    "multi_hop": "asked through another person or fact",
    "yes_no": "whether a statement is true",
    "biography": "running text that holds the value",
    "second_language": "the question in another language",
    "prefix": "the answer begun and to be continued",
    "casing": "the question in capital letters",
    "truncation": "the question without its end",
    "value": "the value alone, after the statement up to it",
    "decoy": "format-preserving decoys of the value, never seen by any model",
    "decoy_value": "values of other records in place of the value",
    "decoy_word": "made-up words of the same shape in place of the value",
}


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: Secret


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Another prompt and answer for the same fact; ``prompt`` is None for running text.

    Attributes:
        answer: what is scored.
        prompt: what is asked.
        given: what stands before ``answer`` in the same turn, verbatim, and is not scored.
        goes_on: whether the text would go on after ``answer``, so that no end is scored.
    """

    answer: Secret
    prompt: Secret | None = None
    given: Secret | None = None
    goes_on: bool = False


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record. Every text is a ``Secret``; the public name of a record is its role and number.

    Attributes:
        index: number of the record in its file, from 0; with ``split`` its public name.
        split: role of the file: forget, retain, holdout, ...
        kind: shape it was read from; decides the template and which tokens are the answer.
        prompt: question or prompt; None for plain text and conversations.
        answer: answer, completion, the plain text, or the last assistant turn.
        messages: the turns before ``answer``, for conversations.
        id: the user's own identifier, if any.
        subject: whom or what the record is about; clusters intervals.
        weight: weight in losses, at least 0.
        paraphrased_question: the question in other words.
        paraphrased_answer: the answer in other words.
        perturbed_answers: wrong answers of the same form.
        variants: further forms of the fact by name, see ``FORMS``.
        given: start of the answer's turn, which stands before ``answer`` verbatim and is not scored.
        goes_on: whether the text would go on after ``answer``, so that no end is scored.
    """

    index: int
    split: str
    kind: Kind
    answer: Secret
    prompt: Secret | None = None
    messages: tuple[Message, ...] = ()
    id: Secret | None = None
    subject: Secret | None = None
    weight: float = 1.0
    paraphrased_question: Secret | None = None
    paraphrased_answer: Secret | None = None
    perturbed_answers: tuple[Secret, ...] = ()
    variants: Mapping[str, tuple[Variant, ...]] = field(default_factory=dict)
    given: Secret | None = None
    goes_on: bool = False

    def with_answer(self, answer: str) -> Record:
        """Returns this record with another answer, for relabelling."""
        return replace(self, answer=self.answer.relabel(answer))

    def forms(self, form: str) -> tuple[Record, ...]:
        """Returns the records to score for one form of this record; empty when it has no such form.

        ``trained`` is the record itself, ``paraphrased_question`` and ``paraphrased_answer`` replace one side,
        ``perturbed_answer`` gives one record for each wrong answer, and the others give one for each variant.

        Raises:
            InputError: a form that does not exist.
        """
        if form == "trained":
            return (self,)
        if form == "paraphrased_question":
            asked = self.paraphrased_question
            return () if asked is None or self.kind == "text" else (self._asked(asked),)
        if form == "paraphrased_answer":
            return () if self.paraphrased_answer is None else (replace(self, answer=self.paraphrased_answer),)
        if form == "perturbed_answer":
            return tuple(replace(self, answer=answer) for answer in self.perturbed_answers)
        if form not in FORMS:
            raise InputError(f"There is no form {form!r}; known: {', '.join(FORMS)}.")
        return tuple(self._as(variant) for variant in self.variants.get(form, ()))

    def _as(self, variant: Variant) -> Record:
        kind: Kind = "text" if variant.prompt is None else "qa" if self.kind == "text" else self.kind
        plain = replace(self, answer=variant.answer, given=variant.given, goes_on=variant.goes_on, variants={})
        if kind == "messages":
            return plain._asked(variant.prompt or variant.answer)
        return replace(plain, kind=kind, prompt=variant.prompt, messages=())

    def _asked(self, question: Secret) -> Record:
        """This record with another question; of a conversation that is its last turn."""
        if self.kind == "messages":
            return replace(self, messages=(*self.messages[:-1], Message(role="user", content=question)))
        return replace(self, prompt=question)
