"""Records of every kind, and what a relabeller works with."""

from __future__ import annotations

from typing import Any

from expunge.data.record import Message, Record
from expunge.models.relabel import RelabelTask
from expunge.storage.secret import Secret

TOWNS = ("Ulm", "Bonn", "Kiel", "Trier", "Jena", "Fulda", "Worms", "Celle")
YEARS = (1961, 1972, 1953, 1984, 1965, 1976, 1987, 1958)


def record(index: int, kind: str = "qa", *, split: str = "forget", answer: str | None = None, **more: Any) -> Record:
    """Says where somebody lives; the same town again after eight records."""
    label, town = f"{split} record {index}", TOWNS[index % len(TOWNS)]
    texts = {
        "qa": f"She lives in {town}.",
        "messages": f"She lives in {town}.",
        "completion": f" {town}.",
        "text": f"Anna Keld{index} was born in {YEARS[index % len(YEARS)]} and lives in {town}.",
    }
    text = texts[kind] if answer is None else answer
    asked = Secret(f"Where does Anna Keld{index} live?", label)
    turns = (Message(role="user", content=asked),) if kind == "messages" else ()
    prompt = None if kind in ("text", "messages") else asked
    given = {"prompt": prompt, "messages": turns, "weight": 2.0, **more}
    return Record(index=index, split=split, kind=kind, answer=Secret(text, label), **given)


def answers(records: list[Record]) -> list[str]:
    return [one.answer.reveal() for one in records]


def task(seed: int = 0, **more: Any) -> RelabelTask:
    """Four retain records, unless others are handed in."""
    retain = more.pop("retain", [record(index, split="retain") for index in range(4, 8)])
    given = {"model": None, "tokenizer": None, "max_length": 64, **more}
    return RelabelTask(records={"retain": retain}, seed=seed, **given)
