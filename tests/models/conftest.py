"""Tiny random models of the architectures that differ where readings could go wrong, and batches for them."""

from __future__ import annotations

import random

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    LlamaConfig,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from expunge.data.batch import IGNORE, Example, collate

VOCABULARY = 97
IDS = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "max_position_embeddings": 64}
GROUPED = {**LAYERS, "intermediate_size": 48, "num_key_value_heads": 2}

CONFIGS = {
    "llama": LlamaConfig(**IDS, **GROUPED, tie_word_embeddings=False),
    "llama_tied": LlamaConfig(**IDS, **GROUPED, tie_word_embeddings=True),
    "gpt2": GPT2Config(**IDS, n_layer=2, n_head=4, n_embd=32, n_positions=64),
    # Sharp caps and scales: at these values a reading that skips them is far off.
    "gemma2": Gemma2Config(**IDS, **GROUPED, head_dim=8, final_logit_softcapping=0.5, attn_logit_softcapping=5.0),
    "cohere": CohereConfig(**IDS, **GROUPED, logit_scale=0.25),
    "phi": PhiConfig(**IDS, **LAYERS, intermediate_size=48),  # bias on the head
    "gptj": GPTJConfig(
        **IDS, n_layer=2, n_head=4, n_embd=32, n_positions=64, rotary_dim=4
    ),  # the same, blocks give tuples
    "qwen2": Qwen2Config(**IDS, **GROUPED),
    "neox": GPTNeoXConfig(**IDS, **LAYERS, intermediate_size=48),
}


def build(name: str, *, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: object):
    """A random model in evaluation mode; biases and norms are noise too, so that none can be forgotten."""
    config = CONFIGS[name].__class__.from_dict({**CONFIGS[name].to_dict(), **changes})
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator) * 0.2
        parameter.data = parameter.data * 0 + noise if parameter.ndim > 1 else parameter.data + noise
    return model.to(dtype).eval()


def make_examples(count: int = 5, seed: int = 0) -> list[Example]:
    """Sequences of unequal length with unscored prompts and a gap in the middle of some answers."""
    source = random.Random(seed)
    found = []
    for row in range(count):
        ids = [1, *(source.randrange(3, VOCABULARY) for _ in range(source.randint(5, 12)))]
        prompt = source.randint(1, 3)
        labels = [IGNORE] * prompt + ids[prompt:]
        if row % 2:
            labels[-2] = IGNORE
        found.append(Example(tuple(ids), tuple(labels), row))
    return found


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Words w3, w4, ... and three special tokens."""
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, **{f"w{number}": number for number in range(3, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


@pytest.fixture(params=CONFIGS)
def any_model(request):
    return build(request.param)


@pytest.fixture
def model():
    return build("llama")


@pytest.fixture
def batch():
    return collate(make_examples(), pad_id=0)


@pytest.fixture
def tokenizer():
    return make_tokenizer()
