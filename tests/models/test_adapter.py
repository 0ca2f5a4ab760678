"""Adapters that others hand in: merged like peft merges them, and refused where they could run code."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from expunge.errors import InputError, UnsafeModelError
from expunge.models.adapter import check_adapter, is_adapter, load_with_adapter
from expunge.models.load import load_model, save_model
from tests.evaluation.worlds import make_tokenizer
from tests.support.tiny import examples, llama


@pytest.fixture
def folders(tmp_path):
    """A base model, and an adapter on it that does something."""
    save_model(llama(), make_tokenizer(), tmp_path / "base")
    wrapped = get_peft_model(load_model(tmp_path / "base").model, LoraConfig(r=2, target_modules=["q_proj", "up_proj"]))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    wrapped.save_pretrained(tmp_path / "adapter")
    return tmp_path / "base", tmp_path / "adapter", wrapped.eval()


def test_the_adapter_is_merged(folders):
    base, adapter, wrapped = folders
    assert is_adapter(adapter)
    assert not is_adapter(base)
    found = load_with_adapter(str(base), adapter)
    ids = torch.tensor([examples(1)[0].input_ids])
    with torch.no_grad():
        expected, own, bare = (one(input_ids=ids).logits for one in (wrapped, found.model, load_model(base).model))
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(own, bare, atol=1e-3)
    assert not found.model.training


def test_pickles_and_modules_to_import_are_refused(folders):
    _, adapter, _ = folders
    settings = adapter / "adapter_config.json"
    plain = json.loads(settings.read_text())
    settings.write_text(json.dumps({**plain, "megatron_config": {"a": 1}, "megatron_core": "evil"}))
    with pytest.raises(UnsafeModelError, match="megatron_config"):
        check_adapter(adapter)
    settings.write_text(json.dumps(plain))
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(UnsafeModelError, match="safetensors only"):
        check_adapter(adapter)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"peft_type": 3}'])
def test_a_broken_configuration_is_refused(folders, text):
    _, adapter, _ = folders
    (adapter / "adapter_config.json").write_text(text)
    with pytest.raises(InputError, match="adapter_config.json"):
        check_adapter(adapter)


def test_an_adapter_of_which_nothing_would_be_used_is_refused(folders):
    """Peft warns of keys that it does not know, and goes on with the first values."""
    base, adapter, _ = folders
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file({f"other.{name}": item for name, item in weights.items()}, adapter / "adapter_model.safetensors")
    with pytest.raises(InputError, match="do not fit the original"):
        load_with_adapter(str(base), adapter)
    (adapter / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match=r"adapter_model.safetensors is not a safetensors file"):
        load_with_adapter(str(base), adapter)


def test_a_folder_with_a_model_and_an_adapter_is_refused(folders):
    base, adapter, _ = folders
    (base / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    with pytest.raises(InputError, match="a model and an adapter"):
        check_adapter(base)


def test_an_adapter_for_another_model_is_refused(folders, tmp_path):
    _, adapter, _ = folders
    save_model(llama(hidden=16), make_tokenizer(), tmp_path / "other")
    with pytest.raises(InputError, match="--original"):
        load_with_adapter(str(tmp_path / "other"), adapter)
