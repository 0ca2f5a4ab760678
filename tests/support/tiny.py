"""Tiny models and token sequences for tests: built in milliseconds, never downloaded."""

from __future__ import annotations

import random

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from expunge.data.batch import IGNORE, Example

VOCABULARY = 61


def llama(
    seed: int = 0, *, dropout: float = 0.0, tied: bool = True, hidden: int = 32, layers: int = 2
) -> LlamaForCausalLM:
    """A random two-layer Llama in evaluation mode."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        attention_dropout=dropout,
        tie_word_embeddings=tied,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def examples(count: int, seed: int = 0, *, weights: list[float] | None = None) -> list[Example]:
    """Random sequences of unequal length; the first few tokens are the prompt."""
    source = random.Random(seed)
    found = []
    for row in range(count):
        size = source.randint(6, 14)
        ids = (1, *(source.randrange(3, VOCABULARY) for _ in range(size - 2)), 2)
        prompt = source.randint(2, 4)
        labels = (IGNORE,) * prompt + ids[prompt:]
        found.append(Example(ids, labels, row, 1.0 if weights is None else weights[row], end=size - 1))
    return found
