"""Model folders as they are found: each is unlearned, or refused with a message that is true, never as a bug."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPTJConfig, GPTNeoConfig

from expunge.models.changes import changes
from expunge.models.folder import check_folder, saved_dtypes
from expunge.models.load import load_model, weights_digest
from tests.workflows.folders import ROWS, make_folder, unlearn

IDS = {"vocab_size": ROWS, "bos_token_id": 0, "eos_token_id": 0}
HEADS = {"n_embd": 16, "n_layer": 1, "n_head": 4, "n_positions": 128}
WITH_MASKS = {
    "gpt2": (GPT2Config(**IDS, **HEADS), "transformer.h.0.attn"),
    "gptj": (GPTJConfig(**IDS, **HEADS, rotary_dim=4), "transformer.h.0.attn"),
    "gpt_neo": (
        GPTNeoConfig(
            **IDS,
            hidden_size=16,
            num_layers=1,
            num_heads=4,
            attention_types=[[["global"], 1]],
            max_position_embeddings=128,
        ),
        "transformer.h.0.attn.attention",
    ),
}


def add_tensors(folder, **tensors) -> None:
    """Adds tensors to the weights of a folder, or replaces them."""
    file = folder / "model.safetensors"
    save_file({**load_file(file), **tensors}, file, metadata={"format": "pt"})


@pytest.mark.parametrize("kind", WITH_MASKS)
def test_causal_masks_of_old_checkpoints_are_no_weights(tmp_path, kind):
    config, attention = WITH_MASKS[kind]
    folder = make_folder(tmp_path / "model", config)
    digest, dtypes = weights_digest(load_model(folder).model), saved_dtypes(check_folder(folder).weights)
    mask = torch.tril(torch.ones(1, 1, 128, 128, dtype=torch.float16))
    add_tensors(folder, **{f"{attention}.bias": mask, f"{attention}.masked_bias": torch.tensor(-1e9)})
    assert weights_digest(load_model(folder).model) == digest
    assert saved_dtypes(check_folder(folder).weights) == dtypes
    assert unlearn(folder) == 0
    assert changes(folder, tmp_path / "out" / "model").share > 0


@pytest.mark.parametrize(
    ("name", "lengths"), [("transformer.h.0.attn.attention.bias", (16,)), ("transformer.extra", (2, 2))]
)
def test_an_unknown_tensor_is_refused_by_its_own_reason(tmp_path, capsys, name, lengths):
    folder = make_folder(tmp_path / "model", WITH_MASKS["gpt_neo"][0])
    add_tensors(folder, **{name: torch.zeros(lengths)})
    assert unlearn(folder) == 2
    says = capsys.readouterr().err
    assert f"unexpected keys, such as {name}. The model has no place for them" in says
    assert "random" not in says
