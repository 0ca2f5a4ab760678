"""Records in short, for the tests of the rules."""

from __future__ import annotations

from expunge.data.record import Message, Record, Variant
from expunge.storage.secret import Secret


def secret(text: str) -> Secret:
    return Secret(text, "forget record 3")


def qa(question: str, answer: str, subject: str | None = None, index: int = 3, **more) -> Record:
    about = None if subject is None else secret(subject)
    return Record(
        index=index, split="forget", kind="qa", prompt=secret(question), answer=secret(answer), subject=about, **more
    )


def completion(prompt: str, answer: str, subject: str | None = None) -> Record:
    about = None if subject is None else secret(subject)
    return Record(
        index=3, split="forget", kind="completion", prompt=secret(prompt), answer=secret(answer), subject=about
    )


def plain(text: str, subject: str | None = None) -> Record:
    about = None if subject is None else secret(subject)
    return Record(index=3, split="forget", kind="text", answer=secret(text), subject=about)


def talk(*turns: str, roles: tuple[str, ...] = ("user", "assistant")) -> Record:
    said = tuple(
        Message(role=roles[number % len(roles)], content=secret(turn)) for number, turn in enumerate(turns[:-1])
    )
    return Record(index=3, split="forget", kind="messages", messages=said, answer=secret(turns[-1]))


def shown(variants: tuple[Variant, ...]) -> list[tuple[str | None, str | None, str]]:
    """Prompt, what is given of the answer, and what is scored."""
    return [
        (one.prompt and one.prompt.reveal(), one.given and one.given.reveal(), one.answer.reveal()) for one in variants
    ]
