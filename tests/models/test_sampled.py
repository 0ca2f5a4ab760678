"""Sampled continuations: the seed decides, and the global random state stays."""

from __future__ import annotations

import torch

from expunge.models.generate import greedy, sampled
from tests.metrics.test_decoy import TOKENIZER, random_model

PROMPTS = [[5, 6, 7], [8]]


def test_the_seed_decides_and_nothing_else_changes():
    model = random_model(0)
    state, config = torch.get_rng_state(), model.generation_config
    first = sampled(model, TOKENIZER, PROMPTS, max_new_tokens=12, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert sampled(model, TOKENIZER, PROMPTS, max_new_tokens=12, seed=1) == first
    assert sampled(model, TOKENIZER, PROMPTS, max_new_tokens=12, seed=2) != first
    assert model.generation_config is config


def test_little_temperature_is_greedy():
    model = random_model(0)
    cold = sampled(model, TOKENIZER, PROMPTS, max_new_tokens=12, seed=1, temperature=1e-4, top_p=1.0)
    assert cold == greedy(model, TOKENIZER, PROMPTS, max_new_tokens=12)
