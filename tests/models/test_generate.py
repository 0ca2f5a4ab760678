"""Batched greedy decoding equals argmax, token after token, one prompt at a time."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import GenerationConfig, MiniMaxConfig, RecurrentGemmaConfig, RwkvConfig

from expunge.errors import InputError
from expunge.models.generate import greedy
from expunge.models.load import build_model, load_model
from expunge.models.parameters import LoRA
from tests.models.conftest import VOCABULARY, build, make_tokenizer
from tests.support.params import few


def prompts(count=7, seed=0):
    source = random.Random(seed)
    return [[source.randrange(3, VOCABULARY) for _ in range(source.randint(1, 9))] for _ in range(count)]


@torch.no_grad()
def by_hand(model, prompt, limit, ends=(2,)):
    """No cache, no padding, no generate."""
    ids = list(prompt)
    for _ in range(limit):
        token = int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token in ends:
            break
        ids.append(token)
    return ids[len(prompt) :]


@pytest.mark.parametrize("batch_size", few([3, 1, 100]))
def test_equals_one_at_a_time(any_model, tokenizer, batch_size):
    expected = [by_hand(any_model, prompt, 8) for prompt in prompts()]
    assert len({tuple(tokens) for tokens in expected}) > 3  # the prompts matter
    assert greedy(any_model, tokenizer, prompts(), max_new_tokens=8, batch_size=batch_size) == expected


SMALL = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "hidden_size": 32}
HEADS = {"intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 1, "num_hidden_layers": 3}
RECURRENT = {
    "rwkv": RwkvConfig(**SMALL, num_hidden_layers=2, context_length=32),
    "recurrent_gemma": RecurrentGemmaConfig(**SMALL, **HEADS, lru_width=32, attention_window_size=16),
    "minimax": MiniMaxConfig(
        **SMALL,
        **HEADS,
        head_dim=8,
        num_local_experts=2,
        block_size=4,
        layer_types=["linear_attention", "full_attention", "linear_attention"],
    ),
}


@pytest.mark.parametrize("kind", RECURRENT)
def test_replies_of_recurrent_models_do_not_depend_on_the_batch(tokenizer, kind):
    model = build_model(RECURRENT[kind], seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0 if parameter.ndim > 1 else 1.0)
    asked = [[5], [6, 7, 8, 9], [10] * 9, [3, 4, 5, 6]]
    alone = [greedy(model, tokenizer, [prompt], max_new_tokens=6)[0] for prompt in asked]
    assert greedy(model, tokenizer, asked, max_new_tokens=6, batch_size=4) == alone


def test_ends_at_the_tokenizers_and_the_models_end_tokens(model, tokenizer):
    free = by_hand(model, prompts()[0], 8, ends=())
    model.generation_config = GenerationConfig(eos_token_id=[free[3], 96])
    expected = [by_hand(model, prompt, 8, ends=(2, free[3], 96)) for prompt in prompts()]
    assert len(expected[0]) <= 3
    assert greedy(model, tokenizer, prompts(), max_new_tokens=8, batch_size=4) == expected
    tokenizer.eos_token = f"w{free[1]}" if free[1] > 2 else "</s>"
    assert len(greedy(model, tokenizer, prompts()[:1], max_new_tokens=8, batch_size=1)[0]) <= 1


def test_ends_at_a_single_end_token_of_the_models_own(model, tokenizer):
    """A configuration has one number or a list of them."""
    free = by_hand(model, prompts()[0], 8, ends=())
    assert free[3] not in (*free[:3], 2)
    model.generation_config = GenerationConfig(eos_token_id=free[3])
    assert greedy(model, tokenizer, prompts()[:1], max_new_tokens=8, batch_size=1) == [free[:3]]


def test_nothing_is_left_over_from_the_models_own_configuration(model, tokenizer):
    """These change every output when they leak."""
    expected = greedy(model, tokenizer, prompts(), max_new_tokens=8, batch_size=4)
    odd = GenerationConfig(
        do_sample=True,
        temperature=5.0,
        repetition_penalty=9.0,
        no_repeat_ngram_size=1,
        bad_words_ids=[[expected[0][0]]],
        suppress_tokens=[expected[0][0]],
        forced_bos_token_id=10,
        min_new_tokens=8,
        num_beams=3,
        max_length=3,
        eos_token_id=2,
        num_return_sequences=2,
        return_dict_in_generate=True,
    )
    model.generation_config = odd
    assert greedy(model, tokenizer, prompts(), max_new_tokens=8, batch_size=4) == expected
    assert model.generation_config is odd


def test_the_mode_is_restored_and_dropout_is_off(tokenizer):
    model = build("gpt2").train()
    expected = [by_hand(build("gpt2"), prompt, 6) for prompt in prompts()]
    assert greedy(model, tokenizer, prompts(), max_new_tokens=6, batch_size=4) == expected
    assert model.training
    assert model.transformer.drop.training
    # The model still trains: nothing made in inference mode stays behind.
    model(torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()


def test_adapters_are_used(tokenizer):
    model = LoRA(rank=2).apply(build("llama"))
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape, generator=generator)
    expected = [by_hand(model.eval(), prompt, 6) for prompt in prompts()]
    assert greedy(model, tokenizer, prompts(), max_new_tokens=6, batch_size=4) == expected
    assert expected != [by_hand(build("llama"), prompt, 6) for prompt in prompts()]


def test_no_tokenizer_end_and_no_prompts(model):
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    model.generation_config = GenerationConfig()
    assert greedy(model, tokenizer, prompts(2), max_new_tokens=5, batch_size=2) == [
        by_hand(model, prompt, 5, ends=()) for prompt in prompts(2)
    ]
    assert greedy(model, tokenizer, [], max_new_tokens=5, batch_size=2) == []


def test_refusals(model, tokenizer):
    with pytest.raises(InputError, match="Prompt 1 has no tokens"):
        greedy(model, tokenizer, [[5], []], max_new_tokens=5)
    with pytest.raises(InputError, match="at least 1"):
        greedy(model, tokenizer, [[5]], max_new_tokens=0)
    with pytest.raises(InputError, match="at least 1"):
        greedy(model, tokenizer, [[5]], max_new_tokens=5, batch_size=0)
    with pytest.raises(InputError, match="exceed the 64 positions"):
        greedy(model, tokenizer, [[5] * 60], max_new_tokens=5)
    assert len(greedy(model, tokenizer, [[5] * 59], max_new_tokens=5)[0]) <= 5


def test_stories260k_tells_of_lily(shared_models):
    loaded = load_model(shared_models / "stories260k")
    ids = loaded.tokenizer("Once upon a time").input_ids
    ids = ids if ids[0] == 1 else [1, *ids]
    short = [1, *loaded.tokenizer("The").input_ids]
    new, _ = greedy(loaded.model, loaded.tokenizer, [ids, short], max_new_tokens=40, batch_size=2)
    assert "Lily" in loaded.tokenizer.decode(new)
