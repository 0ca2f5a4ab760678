"""The last layer through the lens gives the model's own logits, on every architecture, and is normed once."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, BloomConfig, GraniteConfig, Olmo2Config, OPTConfig

from expunge.errors import InputError
from expunge.functional.logprobs import predicting_mask
from expunge.models.lens import Lens, lens_of
from expunge.models.parameters import LoRA
from expunge.models.reading import read
from tests.models.conftest import GROUPED, IDS, LAYERS, build

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
FURTHER = {
    "bloom": BloomConfig(**IDS, n_layer=2, n_head=4, hidden_size=32),  # a second norm, after the embeddings
    "opt": OPTConfig(**IDS, **LAYERS, ffn_dim=48, word_embed_proj_dim=32),  # the norm stands before the blocks
    "granite": GraniteConfig(**IDS, **GROUPED, logits_scaling=4.0),
    "olmo2": Olmo2Config(**IDS, **GROUPED),
}


def noisy(config, seed=0):
    """A random model whose norms are noise too, so that none can be taken for another."""
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data = parameter.data + torch.randn(parameter.shape, generator=generator) * 0.2
    return model.eval()


def check(model, batch):
    reading = read(model, batch, hidden_layers=(1,))
    hidden_ND = reading.hidden(1)[predicting_mask(batch.labels_BT)]
    torch.testing.assert_close(lens_of(model)(hidden_ND), reading.logits, **TOLERANCE)


def test_last_layer_through_the_lens_is_the_output(any_model, batch):
    check(any_model, batch)


@pytest.mark.parametrize("name", FURTHER)
def test_further_architectures(name, batch):
    check(noisy(FURTHER[name]), batch)


def test_inner_layer_by_hand(model, batch):
    hidden_BTD = read(model, batch, hidden_layers=(0,)).hidden(0)
    expected_BTV = model.lm_head(model.model.norm(hidden_BTD))
    torch.testing.assert_close(lens_of(model)(hidden_BTD), expected_BTV, **TOLERANCE)


def test_the_norm_is_applied_once(any_model, batch):
    normed_BTD = any_model(
        input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT, output_hidden_states=True
    ).hidden_states[-1]
    lens = lens_of(any_model)
    own_BTD = read(any_model, batch, hidden_layers=(1,)).hidden(1)
    torch.testing.assert_close(lens.norm(own_BTD), normed_BTD, **TOLERANCE)
    assert not torch.allclose(lens.norm(normed_BTD), normed_BTD, atol=1e-2)


def test_cap_and_scale_change_no_rank():
    generator = torch.Generator().manual_seed(0)
    hidden_ND = torch.randn(5, 32, generator=generator, dtype=torch.float64)
    norm, head = nn.Identity(), nn.Linear(32, 97, dtype=torch.float64)
    plain_NV = Lens(norm=norm, head=head)(hidden_ND)
    shaped_NV = Lens(norm=norm, head=head, scale=0.25, cap=2.0)(hidden_ND)
    assert torch.equal(plain_NV.argsort(), shaped_NV.argsort())
    torch.testing.assert_close(shaped_NV, 2 * torch.tanh(plain_NV / 8))


def test_adapters_are_looked_through(batch):
    model = LoRA(rank=2).apply(build("llama"))
    for name, parameter in model.named_parameters():
        parameter.data += 0.1 if "lora_B" in name else 0.0
    check(model.eval(), batch)


def test_half_precision_is_found():
    assert lens_of(build("gemma2", dtype=torch.bfloat16)).cap == 0.5


def test_what_has_more_above_its_blocks_is_refused(model):
    with pytest.raises(InputError, match="OPTForCausalLM does more after its blocks"):
        lens_of(noisy(OPTConfig(**IDS, **LAYERS, ffn_dim=48, word_embed_proj_dim=16)))
    model.model.norm = nn.Sequential(model.model.norm, nn.Linear(32, 32))
    with pytest.raises(InputError, match="LlamaForCausalLM does more after its blocks"):
        lens_of(model)


def test_the_mode_and_the_hooks_stay(model):
    model.train()
    before = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    lens_of(model)
    assert model.training
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == before
