"""Blocks, head and layers are found by structure on every architecture."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, FalconConfig, GPT2Config, MixtralConfig, OPTConfig, Phi3Config

from expunge.errors import InputError
from expunge.models.modules import (
    attention_out,
    base_model,
    block_linears,
    blocks,
    feed_forward_out,
    layer_map,
    layer_of,
    output_head,
    resolve_layers,
)
from expunge.models.parameters import LoRA
from tests.models.conftest import GROUPED, IDS, LAYERS, build

OWNERS = {"gpt2": "transformer.h", "gptj": "transformer.h", "neox": "gpt_neox.layers"}


def test_blocks_and_head(any_model):
    name = next((key for key in OWNERS if key in type(any_model).__name__.lower()), None)
    assert blocks(any_model) is any_model.get_submodule(OWNERS.get(name, "model.layers"))
    assert output_head(any_model).weight.shape == (97, 32)


def test_layer_of_every_parameter(any_model):
    """Each block's parameters and no other."""
    for layer, block in enumerate(blocks(any_model)):
        inside = {id(parameter) for parameter in block.parameters()}
        named = dict(any_model.named_parameters())
        assert {id(named[name]) for name in named if layer_of(any_model, name) == layer} == inside
    outside = [name for name, _ in any_model.named_parameters() if layer_of(any_model, name) is None]
    assert any(any_model.get_parameter(name).shape == (97, 32) for name in outside)


def test_layer_goes_by_identity_not_by_the_numbers_in_a_name():
    model = build("llama", num_hidden_layers=12)
    # A list of another length, with numbers in its names, nearer to the root than the blocks.
    model.extra = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    assert layer_of(model, "model.layers.11.mlp.up_proj.weight") == 11
    assert layer_of(model, "model.layers.1.mlp.up_proj.weight") == 1
    assert layer_of(model, "extra.1.weight") is None
    assert len(blocks(model)) == 12


def test_the_shallowest_list_wins():
    model = build("llama")
    for block in blocks(model):
        block.experts = nn.ModuleList([nn.Linear(2, 2) for _ in range(2)])  # as many as there are layers
    assert blocks(model) is model.model.layers
    assert layer_of(model, "model.layers.1.experts.0.weight") == 1


FURTHER = {
    "phi3": Phi3Config(**IDS, **GROUPED),  # registers the output before the input
    "opt": OPTConfig(**IDS, **LAYERS, ffn_dim=48, word_embed_proj_dim=32),  # feed-forward layers without a module
    "falcon": FalconConfig(**IDS, num_hidden_layers=2, num_attention_heads=4, hidden_size=32),
}


@pytest.fixture(params=FURTHER)
def further_model(request):
    return AutoModelForCausalLM.from_config(FURTHER[request.param]).eval()


def test_what_attention_writes_back(any_model):
    check_attention_out(any_model)


def test_what_attention_writes_back_in_further_architectures(further_model):
    check_attention_out(further_model)


def check_attention_out(model):
    """Told by running: the module that holds it gives back what it gives."""
    for block in blocks(model):
        found, seen = attention_out(model, block), {}
        assert found is not feed_forward_out(model, block)
        part = next(child for child in block.children() if found in child.modules())
        hooks = [
            module.register_forward_hook(lambda module, _, output, seen=seen: seen.setdefault(id(module), output))
            for module in (found, part)
        ]
        model(torch.tensor([[5, 6, 7]]))
        for hook in hooks:
            hook.remove()
        whole = seen[id(part)][0] if isinstance(seen[id(part)], tuple) else seen[id(part)]
        assert torch.equal(whole.view(3, 32), seen[id(found)].view(3, 32))


def test_attention_that_cannot_be_told_is_refused():
    crossed = AutoModelForCausalLM.from_config(
        GPT2Config(**IDS, n_layer=1, n_head=4, n_embd=32, add_cross_attention=True)
    )
    with pytest.raises(InputError, match="cannot be found in its blocks: 2 of"):
        attention_out(crossed, blocks(crossed)[0])


def test_attention_is_not_taken_for_the_feed_forward_part_of_stacked_experts():
    experts = AutoModelForCausalLM.from_config(MixtralConfig(**IDS, **GROUPED, num_local_experts=2))
    for find in (feed_forward_out, attention_out):
        with pytest.raises(InputError, match="no linear layer at the end"):
            find(experts, blocks(experts)[0])


def test_linear_layers_of_the_blocks_are_all_their_matrices(any_model):
    found = block_linears(any_model)
    assert all(any_model.get_submodule(name) is layer for name, layer in found.items())
    matrices = [
        name
        for name, parameter in any_model.named_parameters()
        if layer_of(any_model, name) is not None and parameter.ndim > 1
    ]
    assert [f"{name}.weight" for name in found] == matrices
    assert output_head(any_model) not in found.values()


def test_a_weight_of_two_layers_is_given_once():
    model = build("llama")
    model.model.layers[1].mlp.up_proj.weight = model.model.layers[0].mlp.up_proj.weight
    assert len(block_linears(model)) == 13


def test_stacked_experts_are_no_linear_layers():
    model = AutoModelForCausalLM.from_config(MixtralConfig(**IDS, **GROUPED, num_local_experts=2))
    with pytest.raises(InputError, match="hold 6 matrices that are not of a linear layer"):
        block_linears(model)


def test_peft_models_are_looked_through():
    model = LoRA(rank=2).apply(build("llama"))
    assert blocks(model) is base_model(model).model.layers
    names = layer_map(model)
    assert {layer for name, layer in names.items() if "lora_A" in name} == {0, 1}
    assert layer_of(model, next(name for name in names if "layers.1" in name and "lora_B" in name)) == 1


def test_what_is_not_there():
    model = build("llama")
    with pytest.raises(InputError, match="no parameter"):
        layer_of(model, "model.layers.9.mlp.up_proj.weight")
    model.config.num_hidden_layers = 5
    with pytest.raises(InputError, match="LlamaForCausalLM cannot be found"):
        blocks(model)
    with pytest.raises(InputError, match="LlamaModel has no output layer"):
        output_head(model.model)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("5-7", [5, 6, 7]),
        ("0, 2-3", [0, 2, 3]),
        ("3,3,1", [1, 3]),
        ("-1", [8]),
        ([6, 5], [5, 6]),
        ((0, -1), [0, 8]),
        (4, [4]),
        (0.5, [4]),
        ("0.0", [0]),
        ("1.0", [8]),
        ("0.5-0.75", [4, 5, 6]),
        ([0.0, 1.0], [0, 8]),
        ("0.3", [2]),  # 2.4
        ("0.32", [3]),  # 2.56
    ],
)
def test_layers_named_in_many_ways(spec, expected):
    assert resolve_layers(build("llama", num_hidden_layers=9), spec) == expected


@pytest.mark.parametrize(
    "spec", ["9", "5-9", [9], [-10], "7-5", "", "a", "5-", "1.5", 1.5, -0.1, [], [True], ["5"], None]
)
def test_layers_that_are_not_there(spec):
    with pytest.raises((InputError, TypeError)) as caught:
        resolve_layers(build("llama", num_hidden_layers=9), spec)
    assert spec is None or isinstance(caught.value, InputError)
