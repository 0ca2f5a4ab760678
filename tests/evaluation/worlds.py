"""Tiny records, tokenizer and models, and subjects that count how often they are loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from expunge.data.record import Record
from expunge.evaluation.store import Store
from expunge.evaluation.subjects import Subject
from expunge.models.load import LoadedModel
from expunge.storage.secret import Secret
from tests.support.tiny import VOCABULARY, llama

IDENTITY = {
    "weights": "a" * 64,
    "adapter": "none",
    "policy": "none",
    "attack": "none",
    "dtype": "float32",
    "template": "default",
}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Words w3, w4, ... and three special tokens."""
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, **{f"w{number}": number for number in range(3, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def words(*numbers: int) -> str:
    return " ".join(f"w{3 + number % (VOCABULARY - 3)}" for number in numbers)


def make_record(split: str, index: int, *, subject: str | None = None, paraphrase: bool = True) -> Record:
    """Record with an answer of two to six words, three wrong answers and two paraphrases."""
    start = index * 7 + {"forget": 0, "retain": 23, "holdout": 41}.get(split, 11)
    size = 2 + index % 5
    label = f"{split} record {index}"

    def secret(*numbers: int) -> Secret:
        return Secret(words(*numbers), label)

    return Record(
        index=index,
        split=split,
        kind="qa",
        prompt=secret(start, start + 3, index),
        answer=secret(*(start * 5 + 3 * step for step in range(size))),
        subject=None if subject is None else Secret(subject, label),
        paraphrased_question=secret(start + 1, start + 4, index) if paraphrase else None,
        paraphrased_answer=secret(*(start * 5 + 3 * step + 1 for step in range(size))) if paraphrase else None,
        perturbed_answers=tuple(secret(*(start + 11 * number + step for step in range(size))) for number in range(3)),
    )


def make_splits(count: int = 12) -> dict[str, list[Record]]:
    return {split: [make_record(split, index) for index in range(count)] for split in ("forget", "retain", "holdout")}


class Source:
    """Loads a model and counts."""

    def __init__(self, model: LlamaForCausalLM | Callable[[], LlamaForCausalLM]) -> None:
        self.model = model
        self.loads = 0

    def __call__(self) -> LoadedModel:
        self.loads += 1
        model = self.model if isinstance(self.model, torch.nn.Module) else self.model()
        return LoadedModel(model, make_tokenizer(), "tiny")


def never() -> LoadedModel:
    raise AssertionError("this model must not be loaded")


def make_subject(role: str, load: Callable[[], LoadedModel], *, policy=None, **identity: str) -> Subject:
    return Subject(role=role, identity={**IDENTITY, "weights": role, **identity}, load=load, policy=policy)


def make_store(folder: Path, *splits: str, max_length: int = 64) -> Store:
    names = splits or ("forget", "retain", "holdout")
    return Store(folder, {split: f"hmac of {split}" for split in names}, max_length)


def flat(bias: float = 0.0) -> LlamaForCausalLM:
    """A model whose logits are all equal."""
    model = llama(tied=False)
    torch.nn.init.constant_(model.lm_head.weight, bias)
    return model
