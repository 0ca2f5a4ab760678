"""LoRA on mixtures whose experts are stacks of matrices: every expert is adapted, and merging is exact."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from expunge.errors import InputError
from expunge.models.adapter import load_with_adapter
from expunge.models.load import build_model, save_model
from expunge.models.modules import stacked_matrices
from expunge.models.parameters import LoRA
from expunge.models.reading import read
from tests.models.conftest import IDS, build
from tests.models.experts import KINDS, expert_config
from tests.models.test_parameters import adapted, shake, trainable

STACKS = {f"model.layers.{layer}.mlp.experts.{name}" for layer in (0, 1) for name in ("gate_up_proj", "down_proj")}


def mixture(kind: str, dtype: torch.dtype = torch.float32):
    return build_model(expert_config(kind, **IDS), seed=0).to(dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_stacks_are_found(kind):
    assert set(stacked_matrices(mixture(kind))) == STACKS
    assert stacked_matrices(build("llama")) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_experts_are_adapted_merged_and_reloaded(kind, batch, tokenizer, tmp_path):
    before = mixture(kind)
    expected = read(before, batch).token_logps.detach()
    choice = LoRA(rank=2, alpha=4.0)
    model = choice.apply(mixture(kind)).eval()
    assert torch.equal(read(model, batch).token_logps.detach(), expected), "a fresh adapter changes nothing"
    shake(model)
    with torch.no_grad():
        changed = read(model, batch).token_logps
        with model.disable_adapter():
            assert torch.equal(read(model, batch).token_logps, expected), "the adapter off is the original"
    assert not torch.allclose(changed, expected, atol=1e-2)
    save_model(choice.export(model), tokenizer, tmp_path / "merged")
    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(info.values())
    torch.testing.assert_close(read(loaded.eval(), batch).token_logps.detach(), changed, rtol=1e-5, atol=1e-5)
    for name, weight in stacked_matrices(before).items():
        differs = (loaded.get_parameter(name) != weight).flatten(1).any(1)
        assert differs.all(), f"an expert of {name} is as it was"


@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss"])
def test_every_expert_has_two_factors_of_its_own(kind):
    """W_e + alpha / rank * B_e A_e by hand, in float64; gpt_oss stores the transpose."""
    choice = LoRA(rank=2, alpha=3.0, targets=("experts.down_proj",), layers="1")
    model = shake(choice.apply(mixture(kind, torch.float64)))
    name = "model.layers.1.mlp.experts.down_proj"
    wrapper = model.base_model.model.model.layers[1].mlp.experts
    a_ERI = wrapper.lora_A.default.weight.detach().reshape(4, 2, -1)
    b_ORE = wrapper.lora_B.default.weight.detach().reshape(-1, 2, 4)
    merged = choice.export(model).get_parameter(name).detach()
    for expert, weight in enumerate(mixture(kind, torch.float64).get_parameter(name).detach()):
        delta = 1.5 * b_ORE[:, :, expert] @ a_ERI[expert]
        expected = weight + (delta.T if kind == "gpt_oss" else delta)
        torch.testing.assert_close(merged[expert], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe"])
def test_gradients_reach_the_adapters_of_the_experts(kind, batch):
    model = shake(LoRA(rank=2).apply(mixture(kind)))
    read(model, batch).sequence_logps.sum().backward()
    found = [parameter for name, parameter in model.named_parameters() if "experts" in name and "lora_" in name]
    assert len(found) == 8
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in found)


def test_what_is_chosen_by_name_and_layer():
    chosen = LoRA(rank=2, targets=("experts.down_proj", "q_proj"), layers="1").apply(mixture("mixtral"))
    experts = {name for name in trainable(chosen) if "experts" in name}
    assert {name.split(".")[4] for name in experts} == {"1"}
    assert len(experts) == 2
    assert adapted(chosen) == {"model.layers.1.self_attn.q_proj", "model.layers.1.mlp.experts"}
    both = LoRA(rank=2, targets=("experts",)).apply(mixture("mixtral"))  # the module that holds both stacks
    assert len(trainable(both)) == 8


def test_gates_of_one_row_and_routers_stay_as_they_are(batch):
    for kind, left in (("qwen2_moe", "shared_expert_gate"), ("phimoe", "router")):
        model = LoRA(rank=2).apply(mixture(kind))
        assert not any(left in name for name in adapted(model))
        assert torch.isfinite(read(model, batch).token_logps).all()
    with pytest.raises(InputError, match="selects no linear layer"):
        LoRA(rank=2, targets=("router",)).apply(mixture("phimoe"))


def test_refusals():
    with pytest.raises(InputError, match=r"rank 17 is above 16, .*mlp.experts.down_proj,"):
        LoRA(rank=17, targets=("experts.down_proj",)).apply(mixture("qwen3_moe"))
    with pytest.raises(InputError, match=r"dropout cannot adapt stacked experts, .* Pass --lora 2,"):
        LoRA(rank=2, dropout=0.1).apply(mixture("mixtral"))
    LoRA(rank=2, dropout=0.1, targets=("q_proj",)).apply(mixture("mixtral"))


def test_what_lora_cannot_adapt_is_told_with_its_share(monkeypatch):
    model = mixture("mixtral")
    assert LoRA(rank=2).left_out(model) is None, "routers are too small to tell"
    stacks = sum(weight.numel() for weight in stacked_matrices(model).values())
    assert LoRA(rank=2).rebuilt(model) == stacks
    assert LoRA(rank=2, layers="1").rebuilt(model) == stacks / 2
    monkeypatch.setattr("expunge.models.parameters.stacked_matrices", lambda model: {})
    layers = [weight for name, weight in model.named_parameters() if ".layers." in name and weight.ndim > 1]
    routers = sum(weight.numel() for weight in layers if weight.shape == (4, 32))
    share = (stacks + routers) / sum(weight.numel() for weight in layers)
    for layers_of in (None, "1"):
        assert f"leaves {share:.0%} of the weights in the layers" in LoRA(rank=2, layers=layers_of).left_out(model)
    assert LoRA(rank=2, targets=("q_proj",)).left_out(model) is None, "these targets were asked for"


@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss"])
def test_an_adapter_folder_on_experts_is_read(kind, batch, tokenizer, tmp_path):
    """As peft saves it; the base's experts are stored one by one and read as stacks."""
    save_model(mixture(kind), tokenizer, tmp_path / "base")
    model = shake(LoRA(rank=2).apply(mixture(kind))).eval()
    model.save_pretrained(tmp_path / "adapter")
    found = load_with_adapter(str(tmp_path / "base"), tmp_path / "adapter").model
    with torch.no_grad():
        expected, own = (read(one, batch).token_logps for one in (model, found))
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)
