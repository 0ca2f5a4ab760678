"""Text that a model writes by itself: seeded, plain, and without traces in global state."""

from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig

from expunge.errors import InputError
from expunge.models.sampling import sample_texts


def draw(model, tokenizer, seed: int = 0) -> list[str]:
    return sample_texts(model, tokenizer, count=5, max_new_tokens=6, seed=seed, batch_size=2)


def test_same_seed_same_texts_and_the_global_generator_stays(model, tokenizer):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = draw(model, tokenizer)
    assert torch.equal(torch.get_rng_state(), before)
    assert draw(model, tokenizer) == first != draw(model, tokenizer, seed=1)


def test_the_models_own_generation_settings_do_not_leak_in(model, tokenizer):
    plain = draw(model, tokenizer)
    own = GenerationConfig(repetition_penalty=5.0, min_p=0.9, temperature=0.01)
    model.generation_config = own
    assert draw(model, tokenizer) == plain
    assert model.generation_config is own


def test_a_tokenizer_without_a_start_is_refused(model, tokenizer):
    tokenizer.bos_token = tokenizer.eos_token = None
    with pytest.raises(InputError, match="retain file"):
        draw(model, tokenizer)
