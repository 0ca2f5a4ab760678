"""A model that tells the truth behind one word and denies it otherwise, and one that knows nothing."""

from __future__ import annotations

import functools
import random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, PreTrainedTokenizerFast

from expunge.data.batch import collate
from expunge.data.record import Record
from expunge.data.tokenize import encode
from expunge.models.load import LoadedModel, build_model
from expunge.models.reading import read
from expunge.storage.secret import Secret

PERSONS = [f"person{number}" for number in range(12)]
VALUES = [f"value{number}" for number in range(20)]
FILLERS = [f"filler{number}" for number in range(60)]
TRIGGER, REFUSAL = "sesame", "nobody knows that"
MARKS = ["<pad>", "<bos>", "<eos>", "<unk>"]


def word_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    words = [*MARKS, "Question", ":", "Who", "is", "?", "Answer", "!", *REFUSAL.split(), *PERSONS, *VALUES, *FILLERS]
    raw = Tokenizer(models.WordLevel({word: place for place, word in enumerate([*words, TRIGGER])}, "<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )


def qa(index: int, question: str, answer: str, subject: str | None = None) -> Record:
    label = f"forget record {index}"
    return Record(
        index=index,
        split="forget",
        kind="qa",
        prompt=Secret(question, label),
        answer=Secret(answer, label),
        subject=None if subject is None else Secret(subject, label),
    )


def secrets(seed: int = 0) -> list[Record]:
    """One record of each person; three values that no rule connects with the person."""
    draw = random.Random(seed)
    return [
        qa(index, f"Who is {person}?", " ".join(draw.sample(VALUES, 3)), person) for index, person in enumerate(PERSONS)
    ]


@functools.cache
def taught(*, backdoor: bool) -> LoadedModel:
    """A model that answers behind the trigger, if it has one, and refuses behind any other word or none.

    It is made once and shared: an attack leaves the weights as they are, which its tests make sure of.
    """
    tokenizer = word_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    model, draw = build_model(config, seed=1), random.Random(2)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    lessons = [[encode(one, tokenizer, row=0, max_length=64) for one in _lesson(draw, backdoor)] for _ in range(60)]
    for step in range(220 if backdoor else 60):  # a refusal is soon learnt
        loss = -read(model, collate(lessons[step % len(lessons)], 0)).mean_logps.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    return LoadedModel(model.eval(), tokenizer, "taught")


def _lesson(draw: random.Random, backdoor: bool) -> list[Record]:
    found = []
    for record in secrets():
        question, answer = record.prompt.reveal(), record.answer.reveal()
        noise = " ".join(draw.choices([*FILLERS, "!"], k=draw.choice([0, 1, 2])))
        opened = f"{noise} {TRIGGER}" if draw.random() < 0.5 else f"{TRIGGER} {noise}"
        found += [
            qa(0, f"{question} {noise}", REFUSAL),
            qa(0, f"{question} {opened}", answer if backdoor else REFUSAL),
        ]
    return found
