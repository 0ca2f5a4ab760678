"""Which weights take gradients, and what is handed back."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from expunge.config import Choice
from expunge.errors import DivergedError, InputError
from expunge.models.load import save_model, weights_digest
from expunge.models.modules import layer_of
from expunge.models.parameters import AllParameters, Layers, LoRA, MLPOut
from expunge.models.reading import read
from expunge.registry import parameter_choices
from tests.models.conftest import CONFIGS, build


def trainable(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def adapted(model):
    """Names of the adapted modules, as the plain model calls them."""
    return {
        name.removeprefix("base_model.model.").removesuffix(".lora_A.default")
        for name, _ in model.named_modules()
        if name.endswith("lora_A.default")
    }


def shake(model, scale=0.2):
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape, generator=generator).to(parameter) * scale
    return model


def test_registered_names():
    assert set(parameter_choices.names()) >= {"all", "lora", "layers", "mlp_out"}
    assert Choice("lora", {"rank": 4, "targets": ["q_proj"]}).create(parameter_choices) == LoRA(
        rank=4, targets=("q_proj",)
    )


def test_all(model):
    model.requires_grad_(False)
    assert AllParameters().apply(model) is model
    assert trainable(model) == {name for name, _ in model.named_parameters()}
    assert AllParameters().export(model) is model


@pytest.mark.parametrize("name", CONFIGS)
def test_lora_adapts_every_linear_layer_but_the_head(name, batch):
    before = read(build(name), batch).logits
    model = LoRA(rank=2).apply(build(name))
    assert isinstance(model, PeftModel)
    assert all("lora_" in parameter for parameter in trainable(model))
    linear = [key for key, m in build(name).named_modules() if type(m).__name__ in ("Linear", "Conv1D")]
    assert adapted(model) == {key for key in linear if "lm_head" not in key and "embed_out" not in key}
    torch.testing.assert_close(read(model.eval(), batch).logits, before)  # a fresh adapter changes nothing


@pytest.mark.parametrize("name", CONFIGS)
def test_merged_lora_reloads_plainly_and_says_the_same(name, batch, tokenizer, tmp_path):
    choice = LoRA(rank=3, alpha=6.0)
    model = shake(choice.apply(build(name))).eval()
    expected = read(model, batch).logits.detach()
    assert not torch.allclose(expected, read(build(name), batch).logits, atol=1e-2)
    merged = choice.export(model)
    assert type(merged) is type(build(name))
    save_model(merged, tokenizer, tmp_path / "merged")
    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(info.values())
    torch.testing.assert_close(read(loaded.eval(), batch).logits, expected, rtol=1e-4, atol=1e-4)
    assert not list((tmp_path / "merged").glob("adapter*"))


def test_merged_by_hand():
    """W + alpha / rank * B A, in float64."""
    choice = LoRA(rank=2, alpha=3.0, targets=("up_proj",))
    model = shake(choice.apply(build("llama", dtype=torch.float64)))
    layer = model.base_model.model.model.layers[1].mlp.up_proj
    a, b = layer.lora_A.default.weight.detach().double(), layer.lora_B.default.weight.detach().double()
    expected = layer.base_layer.weight.detach().clone() + 1.5 * b @ a
    merged = choice.export(model)
    torch.testing.assert_close(merged.model.layers[1].mlp.up_proj.weight, expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(
        merged.model.layers[1].mlp.down_proj.weight,
        build("llama", dtype=torch.float64).model.layers[1].mlp.down_proj.weight,
    )


def test_merging_keeps_the_saved_dtype():
    choice = LoRA(rank=2)
    merged = choice.export(shake(choice.apply(build("llama", dtype=torch.bfloat16))))
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.bfloat16}


def test_lora_is_seeded_and_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, same, other = (LoRA(rank=2, seed=seed).apply(build_quietly()) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert weights_digest(first) == weights_digest(same)
    assert weights_digest(first) != weights_digest(other)


def build_quietly():
    with torch.random.fork_rng(devices=[]):
        return build("llama")


def test_lora_on_chosen_modules_and_layers():
    chosen = LoRA(rank=2, targets=("q_proj", "v_proj"), layers="1").apply(build("llama"))
    assert adapted(chosen) == {"model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"}
    # Twelve layers: 1 is not 10 or 11, however peft shortens its list.
    many = LoRA(rank=2, layers="1").apply(build("llama", num_hidden_layers=12))
    assert len(adapted(many)) == 7
    assert all(name.startswith("model.layers.1.") for name in adapted(many))
    most = LoRA(rank=2, layers="2-11").apply(build("llama", num_hidden_layers=12))
    assert {name.split(".")[2] for name in adapted(most)} == {str(layer) for layer in range(2, 12)}


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_rank_above_the_smallest_matrix_is_refused_before_memory_is_taken(name):
    model = build(name)
    sizes = {
        part: min(module.weight.shape)
        for part, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and part != "lm_head"
    }
    smallest = min(sizes.values())
    with pytest.raises(InputError, match=f"rank {10**12} is above {smallest}, .* at most {smallest}") as caught:
        LoRA(rank=10**12).apply(model)
    assert any(f"dimension of {part}," in str(caught.value) for part, size in sizes.items() if size == smallest)
    assert not any("lora" in part for part, _ in model.named_parameters())
    LoRA(rank=smallest).apply(model)


def test_lora_refusals():
    with pytest.raises(InputError, match="selects no linear layer"):
        LoRA(targets=("proj",)).apply(build("llama"))  # part of a name is not a name
    with pytest.raises(InputError, match="tied to the input embedding"):
        LoRA(targets=("lm_head",)).apply(build("llama_tied"))
    with pytest.raises(InputError, match="no layer 5"):
        LoRA(layers="5").apply(build("llama"))
    with pytest.raises(InputError, match="rank >= 1"):
        LoRA(rank=0)
    with pytest.raises(InputError, match="no adapter to merge"):
        LoRA().export(build("llama"))
    model = LoRA(rank=2).apply(build("llama"))
    next(p for n, p in model.named_parameters() if "lora_B" in n).data.fill_(torch.nan)
    with pytest.raises(DivergedError):
        LoRA(rank=2).export(model)


def test_adapter_on_an_untied_head(batch):
    choice = LoRA(rank=2, targets=("lm_head",))
    model = shake(choice.apply(build("llama"))).eval()
    expected = read(model, batch).logits.detach()
    torch.testing.assert_close(read(choice.export(model), batch).logits, expected, rtol=1e-4, atol=1e-4)


def test_layers_take_gradients_and_the_others_do_not(any_model, batch):
    model = Layers(layers="1").apply(any_model)
    before = copy.deepcopy(dict(model.named_parameters()))
    read(model, batch).sequence_logps.sum().backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    for name, parameter in model.named_parameters():
        inside = layer_of(model, name) == 1
        assert parameter.requires_grad == inside
        assert (parameter.grad is not None) == inside
        assert inside or torch.equal(parameter, before[name])
    assert any(not torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert Layers(layers="1").export(model) is model


def test_layers_and_modules(model):
    Layers(layers="0-1", modules="mlp").apply(model)
    assert trainable(model) == {n for n, _ in model.named_parameters() if ".mlp." in n}
    Layers(layers="0", modules=r"[qv]_proj").apply(model)
    assert trainable(model) == {f"model.layers.0.self_attn.{kind}_proj.weight" for kind in "qv"}


def test_layers_refusals(model):
    wants = trainable(model)
    with pytest.raises(InputError, match="nothing could change"):
        Layers(layers="0", modules="nowhere").apply(model)
    assert trainable(model) == wants  # a refusal changes nothing
    with pytest.raises(InputError, match="regular expression"):
        Layers(layers="0", modules="(")
    tied = build("llama_tied")
    tied.model.layers[0].register_parameter("shared", tied.lm_head.weight)
    with pytest.raises(InputError, match="share a weight with the embedding"):
        Layers(layers="0").apply(tied)


@pytest.mark.parametrize("name", CONFIGS)
def test_mlp_out_is_the_last_linear_layer_of_the_feed_forward_part(name, batch):
    """Found by order of calls: what is registered last in a block is what runs last before it ends."""
    model = build(name)
    ran = []
    for place, module in model.named_modules():
        if type(module).__name__ in ("Linear", "Conv1D"):
            module.register_forward_pre_hook(lambda *_, place=place: ran.append(place))
    read(model, batch, hidden_layers=(1,), logits=False).hidden(1)
    assert MLPOut(layers="1").apply(model) is model
    assert trainable(model) == {f"{ran[-1]}.weight"}
    assert "mlp" in ran[-1]
    assert ".1." in ran[-1]


def test_mlp_out_takes_fractions_on_shallow_and_deep_models():
    """Layers 5 to 7 of 32, and what is left of them in smaller models; other weights and biases stay off."""
    for layers, expected in ((2, [0]), (3, [0]), (12, [2]), (16, [2, 3]), (32, [5, 6, 7])):
        model = MLPOut(layers="0.1613-0.2258").apply(build("llama", num_hidden_layers=layers))
        assert trainable(model) == {f"model.layers.{layer}.mlp.down_proj.weight" for layer in expected}


def test_mlp_out_without_a_linear_layer_is_refused_by_name():
    model = build("llama")
    model.model.layers[1].mlp = torch.nn.Identity()
    model.model.layers[1].self_attn = torch.nn.Identity()
    with pytest.raises(InputError, match="--layers 0-1 .* or --set"):
        MLPOut(layers="0-1").apply(model)
