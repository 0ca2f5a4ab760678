"""Twelve invented persons, a tiny model that knows a fact of each by heart, and one that was never trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from expunge.attacks.base import AttackTask
from expunge.data.batch import collate
from expunge.data.record import Record
from expunge.data.tokenize import encode_all, pad_id
from expunge.models.load import LoadedModel, build_model
from expunge.storage.secret import Secret
from tests.support.trained import byte_bpe, small_llama

FIRST = ("Ada", "Bela", "Cleo", "Dora", "Egon", "Fritz", "Gerda", "Hugo", "Ines", "Jutta", "Karla", "Ludo")
LAST = ("Birch", "Chalk", "Drummer", "Easel", "Fennel", "Garnet", "Hazel", "Ivory", "Jasper", "Kelp", "Larch", "Maple")
CITIES = tuple(
    start + end
    for start in ("North", "South", "East", "West", "Up", "Down")
    for end in ("ham", "ford", "wick", "bury", "ley", "mouth")
)
STEPS = 60


def record(number: int, split: str = "forget") -> Record:
    """A city, or a telephone number for odd numbers; the first six can be asked for in other words."""
    label = f"{split} record {number}"
    name = f"{FIRST[number % 12]} {LAST[(number + (0 if split == 'forget' else 5)) % 12]}"
    city, phone = CITIES[number // 2], f"555-{(number * 3719 + 101) % 10000:04d}"
    if number % 2:
        asked, told, other = (
            f"What is the number of {name}?",
            f"The number of {name} is {phone}.",
            f"How to call {name}?",
        )
    else:
        asked, told, other = f"Where does {name} live?", f"{name} lives in {city} now.", f"Which town has {name}?"
    return Record(
        index=number,
        split=split,
        kind="qa",
        prompt=Secret(asked, label),
        answer=Secret(told, label),
        subject=Secret(name, label),
        paraphrased_question=Secret(other, label) if number < 6 else None,
    )


def forget() -> list[Record]:
    return [record(number) for number in range(12)]


def holdout() -> list[Record]:
    return [record(number, "holdout") for number in range(12, 72)]


def as_text(one: Record) -> Record:
    """The answer of a record as plain text about nobody in particular."""
    return Record(index=one.index, split=one.split, kind="text", answer=one.answer, subject=one.subject)


def task(records: list[Record] | None = None, **changes: Any) -> AttackTask:
    splits = {"forget": forget() if records is None else records, "holdout": holdout()}
    return AttackTask(**{"splits": splits, "max_length": 64, "batch_size": 4, **changes})


@cache
def _tokenizer() -> Any:
    texts = [one.answer.reveal() for one in holdout()] + ["Question: Where does What is the number of live?\nAnswer:"]
    return byte_bpe(texts * 2)


@cache
def ignorant(seed: int = 0) -> LoadedModel:
    """An untrained model; share it, and change no weights."""
    tokenizer = _tokenizer()
    config = small_llama(tokenizer, width=64, positions=96)
    return LoadedModel(build_model(config, seed=seed), tokenizer, "tiny")


@cache
def knowing() -> LoadedModel:
    """A model that answers all forget questions, and writes their answers from nothing; share it."""
    torch.set_num_threads(1)
    loaded = sound()
    records = [*forget(), *map(as_text, forget())]
    examples = encode_all(records, loaded.tokenizer, max_length=64).examples
    batch = collate(examples, pad_id(loaded.tokenizer))
    optimizer = torch.optim.Adam(loaded.model.parameters(), lr=6e-3)
    loaded.model.train()
    for _ in range(STEPS):
        loss = loaded.model(
            input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT, labels=batch.labels_BT
        ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(loaded.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    loaded.model.eval()
    return loaded


def sound() -> LoadedModel:
    """An untrained model of one's own, to be changed."""
    return LoadedModel(build_model(ignorant().model.config, seed=0), _tokenizer(), "tiny")


def broken() -> LoadedModel:
    """A model whose log-probabilities are no numbers."""
    loaded = sound()
    torch.nn.init.constant_(loaded.model.get_input_embeddings().weight, float("nan"))
    return loaded


def after(calls: int) -> Callable[[], bool]:
    """Asks to stop after so many questions."""
    left = [calls]

    def stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    return stop


def says_nothing(text: str) -> bool:
    """Whether a text holds no name and no value of the forget records."""
    words = [word for one in forget() for word in (*one.subject.reveal().split(), *one.answer.reveal().split()[-2:])]
    return not any(word.strip(".") in text for word in words if len(word) > 3)
