"""Dropout of a model, set for a while: everywhere transformers has one, and back again."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from expunge.errors import InputError
from expunge.methods.preset import Training
from expunge.models.modes import dropping, set_dropout
from expunge.models.parameters import LoRA
from tests.support.tiny import llama

IDS = torch.arange(3, 19)[None]
SMALL = {"vocab_size": 61, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config(vocab_size=61, n_embd=16, n_head=2, n_layer=2, n_positions=32))


def neox() -> nn.Module:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL, intermediate_size=32, max_position_embeddings=32))


def opt() -> nn.Module:
    config = OPTConfig(**SMALL, ffn_dim=32, max_position_embeddings=32, word_embed_proj_dim=16, dropout=0.1)
    return OPTForCausalLM(config)


# Llama: one attention a block. GPT-2: the embedding; attention weights and output, feed-forward of each block.
# GPT-NeoX: the embedding; attention weights and the outputs of attention and feed-forward of each block.
# OPT: attention weights and the block's own number for both outputs; the decoder's number, which nothing reads.
BUILT = {"llama": (llama, 2), "gpt2": (gpt2, 1 + 2 * 3), "neox": (neox, 1 + 2 * 3), "opt": (opt, 1 + 2 * 2)}


@pytest.mark.parametrize("name", BUILT)
def test_every_place_is_found_takes_effect_and_is_given_back(name):
    build, count = BUILT[name]
    model = build().train()
    set_dropout(model, 0.0)
    config = model.config.to_dict()
    calm = model(IDS).logits
    assert torch.equal(model(IDS).logits, calm)
    with dropping(model, 0.5) as places:
        assert places == count
        assert not torch.equal(model(IDS).logits, model(IDS).logits)
        model.eval()
        assert torch.equal(model(IDS).logits, calm)
        model.train()
    assert torch.equal(model(IDS).logits, calm)
    assert model.config.to_dict() == config


def test_a_model_keeps_its_own_dropout_afterwards_also_after_an_error():
    model = gpt2()

    def failing() -> None:
        with dropping(model, 0.0):
            assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.0}
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.1}
    with dropping(model, None) as places:
        assert places == 0
        assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.1}


def test_attention_weights_are_dropped_by_the_share():
    """Attention of a Llama that looks at equal keys: what is left of it, scaled, has mean 1 and 30 % zeros."""
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=61, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=4)
    )
    model.set_attn_implementation("eager")
    model.train()
    with dropping(model, 0.3):
        torch.manual_seed(0)
        attention = model(IDS.repeat(40, 1), output_attentions=True).attentions[0]
    seen = attention[:, :, -1, :]
    assert float((seen == 0).float().mean()) == pytest.approx(0.3, abs=0.02)


def test_the_dropout_of_an_adapter_is_its_own():
    model = LoRA(rank=2, dropout=0.25).apply(llama())
    assert set_dropout(model, 0.5) == 2
    adapters = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    assert adapters == {0.25}


def test_a_model_without_a_place_is_refused_unless_nothing_is_dropped():
    plain = llama()
    for module in plain.modules():
        vars(module).pop("attention_dropout", None)
    assert set_dropout(plain, 0.0) == 0
    with pytest.raises(InputError, match=r"LlamaForCausalLM has no place for a dropout of 0\.1"):
        set_dropout(plain, 0.1)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_that_cannot_be_meant_are_refused(share):
    with pytest.raises(InputError, match="dropout"):
        Training(dropout=share)
