"""One record of a user's data, whatever shape its file had."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from expunge.data.values import leaves
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
    """One turn of a conversation.

    Attributes:
        role: system, user, assistant or tool.
        content: what is said; empty in a turn that only calls tools.
        fields: what else a chat template reads of the turn, as JSON of an object: ``tool_calls`` of the assistant,
            ``name`` and ``tool_call_id`` of a tool.
    """

    role: str
    content: Secret
    fields: Secret | None = None

    @property
    def calls(self) -> bool:
        """Whether the turn calls tools."""
        return self.role == "assistant" and self.fields is not None

    @property
    def texts(self) -> tuple[Secret, ...]:
        """All that the turn says: its content, and the functions that it calls with what it hands them; no ids."""
        if not self.calls or self.fields is None:
            return (self.content,)
        said = [self.content] if len(self.content) else []
        for call in json.loads(self.fields.reveal())["tool_calls"]:
            function = call.get("function", call)
            said += map(self.content.relabel, (function["name"], *leaves(function.get("arguments"))))
        return tuple(said)


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
        tools: JSON of the list of schemas of the tools that a conversation offers.
        id: the user's own identifier, if any.
        subject: whom or what the record is about; clusters intervals.
        weight: weight in losses, at least 0.
        paraphrased_question: the question in other words.
        paraphrased_answer: the answer in other words.
        perturbed_answers: wrong answers of the same form.
        variants: further forms of the fact by name, see ``FORMS``.
        given: start of the answer's turn, which stands before ``answer`` verbatim and is not scored.
        goes_on: whether the text would go on after ``answer``, so that no end is scored.
        found_subject: whom the record is taken to be about where no record of its split has a subject, see
            ``expunge.data.people``; for intervals and folds, and no part of the record's digest.
    """

    index: int
    split: str
    kind: Kind
    answer: Secret
    prompt: Secret | None = None
    messages: tuple[Message, ...] = ()
    tools: Secret | None = None
    id: Secret | None = None
    subject: Secret | None = None
    weight: float = 1.0
    paraphrased_question: Secret | None = None
    paraphrased_answer: Secret | None = None
    perturbed_answers: tuple[Secret, ...] = ()
    variants: Mapping[str, tuple[Variant, ...]] = field(default_factory=dict)
    given: Secret | None = None
    goes_on: bool = False
    found_subject: Secret | None = None

    @property
    def whom(self) -> Secret | None:
        """Whom or what records are grouped by: the subject, given or found."""
        return self.found_subject if self.subject is None else self.subject

    def with_answer(self, answer: str) -> Record:
        """Returns this record with another answer, for relabelling."""
        return replace(self, answer=self.answer.relabel(answer))

    @property
    def has_tools(self) -> bool:
        """Whether tools are on offer, called or answering."""
        return self.tools is not None or any(turn.calls or turn.role == "tool" for turn in self.messages)

    @property
    def question(self) -> Secret | None:
        """What the answer is to: the prompt, or the user's turn before it; None where no user asks.

        What the assistant called after that turn, and what the tools said, belongs to it.
        """
        place = self.asked_at
        return self.prompt if place is None else self.messages[place].content

    def asking(self, question: Secret) -> Record:
        """Returns this record with another question; where no user asks, it takes the place of the last turn."""
        if self.kind != "messages":
            return replace(self, prompt=question)
        place = len(self.messages) - 1 if self.asked_at is None else self.asked_at
        asked = Message(role="system" if self.messages[place].role == "system" else "user", content=question)
        return replace(self, messages=(*self.messages[:place], asked, *self.messages[place + 1 :]))

    @property
    def asked_at(self) -> int | None:
        """Place of the user's turn that only calls of tools and their results follow; None where there is none."""
        place = len(self.messages) - 1
        while place >= 0 and (self.messages[place].role == "tool" or self.messages[place].calls):
            place -= 1
        return place if place >= 0 and self.messages[place].role == "user" else None

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
            return () if asked is None or self.kind == "text" else (self.asking(asked),)
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
            return plain.asking(variant.prompt or variant.answer)
        return replace(plain, kind=kind, prompt=variant.prompt, messages=(), tools=None)
