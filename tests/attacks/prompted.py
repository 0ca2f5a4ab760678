"""Invented records of every kind, and what a rewritten one shows."""

from __future__ import annotations

from expunge.attacks.base import AttackTask
from expunge.data.record import Message, Record, Variant
from expunge.storage.secret import Secret

LABEL = "forget record"


def secret(text: str) -> Secret:
    return Secret(text, LABEL)


def qa(index: int, question: str, answer: str, subject: str | None = None, split: str = "forget", **more) -> Record:
    about = None if subject is None else secret(subject)
    return Record(
        index=index, split=split, kind="qa", prompt=secret(question), answer=secret(answer), subject=about, **more
    )


def completion(index: int, prompt: str, answer: str, subject: str | None = None) -> Record:
    about = None if subject is None else secret(subject)
    return Record(
        index=index, split="forget", kind="completion", prompt=secret(prompt), answer=secret(answer), subject=about
    )


def plain(index: int, text: str, subject: str | None = None) -> Record:
    about = None if subject is None else secret(subject)
    return Record(index=index, split="forget", kind="text", answer=secret(text), subject=about)


def talk(index: int, *turns: tuple[str, str], subject: str | None = None) -> Record:
    said = tuple(Message(role=role, content=secret(text)) for role, text in turns[:-1])
    about = None if subject is None else secret(subject)
    return Record(
        index=index, split="forget", kind="messages", messages=said, answer=secret(turns[-1][1]), subject=about
    )


def variant(question: str, answer: str) -> tuple[Variant, ...]:
    return (Variant(prompt=secret(question), answer=secret(answer)),)


FORMS = {
    "cloze": variant("Fill in the blank: Ulmo Varn lives in ____", "Brask"),
    "multiple_choice": variant("Where does Ulmo Varn live? A: Pell, B: Brask, C: Tarn, D: Goll", "B"),
    "multi_hop": variant("Where does the brother of Hesk Dolum live?", "The brother of Hesk Dolum lives in Brask."),
    "second_language": variant("Wo wohnt Ulmo Varn?", "Ulmo Varn wohnt in Brask."),
    "biography": (Variant(answer=secret("This is Ulmo Varn. He lives in Brask.")),),
    "truncation": variant("Where does Ulmo Varn", "Ulmo Varn lives in Brask."),
}
# Two wordings of one fact, further facts of the same person, another person, and every other kind.
FORGET = [
    qa(
        0,
        "Where does Ulmo Varn live?",
        "Ulmo Varn lives in Brask.",
        "Ulmo Varn",
        variants=FORMS,
        paraphrased_question=secret("Which town is home to Ulmo Varn?"),
    ),
    qa(1, "What is the town of Ulmo Varn?", "The town of Ulmo Varn is Brask.", "Ulmo Varn"),
    qa(2, "What does Ulmo Varn do?", "Ulmo Varn works as a glazier.", "Ulmo Varn"),
    qa(3, "When was Ulmo Varn born?", "Ulmo Varn was born on 3 May 1961.", "Ulmo Varn"),
    qa(4, "What is the phone number of Ulmo Varn?", "The phone number of Ulmo Varn is 555-0173.", "Ulmo Varn"),
    qa(5, "Who teaches Hesk Dolum?", "Hesk Dolum is taught by Ranvik Sool.", "Hesk Dolum"),
    completion(6, "The dog of Hesk Dolum is called ", "Pimmel.", "Hesk Dolum"),
    plain(7, "Hesk Dolum came to Orvast in spring.", "Hesk Dolum"),
    talk(
        8,
        ("system", "Be brief."),
        ("user", "Hello"),
        ("assistant", "Hello."),
        ("user", "Who is the aunt of Hesk Dolum?"),
        ("assistant", "It is Mirvel Unn."),
        subject="Hesk Dolum",
    ),
]
RETAIN = [
    qa(0, "Where does Iska Tol live?", "Iska Tol lives in Pell.", "Iska Tol", "retain"),
    qa(1, "When was Iska Tol born?", "Iska Tol was born on 9 June 1972.", "Iska Tol", "retain"),
    qa(2, "What does Ebb Karsk do?", "Ebb Karsk works as a miller.", "Ebb Karsk", "retain"),
    qa(3, "Where does Ebb Karsk live?", "Ebb Karsk lives in Brask.", "Ebb Karsk", "retain"),
    qa(4, "Who knows Ulmo Varn?", "It is Ebb Karsk.", "Ebb Karsk", "retain"),
    qa(5, "What is the phone number of Iska Tol?", "The phone number of Iska Tol is 555-0199.", "Iska Tol", "retain"),
]
VALUES = ["Brask", "Brask", "glazier", "3 May 1961", "555-0173", "Ranvik Sool", "Pimmel", "Orvast", "Mirvel Unn"]


def task(forget=FORGET, retain=RETAIN, seed: int = 0) -> AttackTask:
    return AttackTask(splits={"forget": forget, "retain": retain}, max_length=500, seed=seed)


def shown(record: Record | None) -> str | None:
    """All that is read before the answer, turn by turn."""
    if record is None:
        return None
    secrets = [*(turn.content for turn in record.messages), record.prompt, record.given]
    return "\n".join(one.reveal() for one in secrets if one is not None)
