"""Adapters of models whose embedding was resized before they were trained: loaded whole, or refused with the reason."""

from __future__ import annotations

import itertools
import json
import warnings
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from expunge.errors import InputError
from expunge.models.adapter import check_pair, load_with_adapter
from expunge.models.load import load_model, save_model
from tests.evaluation.worlds import make_tokenizer
from tests.support.tiny import VOCABULARY, llama

ROWS = VOCABULARY + 3
Q = {"target_modules": ["q_proj"]}
KINDS = {
    "nothing": Q,
    "embedding": {**Q, "modules_to_save": ["embed_tokens"]},
    "both": {**Q, "modules_to_save": ["embed_tokens", "lm_head"]},
    "lora on the embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "lora on both": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    "lora on the output": {"target_modules": ["q_proj", "lm_head"]},
    "tokens": {**Q, "trainable_token_indices": [VOCABULARY, VOCABULARY + 1]},
}
IDS = torch.tensor([[1, 5, 7, 23, 2]])
ADDED = torch.tensor([[1, 5, VOCABULARY, 7, VOCABULARY + 2, 2]])


def make(
    root: Path,
    kind: str,
    *,
    tied: bool,
    rows: int,
    save: bool | str,
    base_rows: int = VOCABULARY,
    dtype: torch.dtype = torch.float32,
):
    """A base, and an adapter that was trained with so many rows; returns the model that peft itself holds."""
    plain = llama(tied=tied).to(dtype)
    plain.resize_token_embeddings(base_rows, mean_resizing=False)
    save_model(plain, make_tokenizer(), root / "base")
    model = load_model(root / "base").model
    source = torch.Generator().manual_seed(0)
    if rows != base_rows:
        model.resize_token_embeddings(rows, mean_resizing=False)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        wrapped = get_peft_model(model, LoraConfig(r=2, **KINDS[kind]))
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=source).to(parameter) * 0.1)
        wrapped.save_pretrained(root / "adapter", save_embedding_layers=save)
    return wrapped.eval()


def logits(model, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids).logits


# With the rows of an end that is neither copied nor adapted, nobody can know what the model was.
INCOMPLETE = {
    *itertools.product(("embedding", "lora on the embedding", "lora on both", "lora on the output"), (False,)),
    ("lora on the output", "auto"),
    ("tokens", False),
}
CASES = [
    (kind, save, tied)
    for kind, save, tied in itertools.product(KINDS, ("auto", False), (True, False))
    if kind != "nothing" or save  # it carries no row, so nothing shows that there were more
]


@pytest.mark.parametrize(("kind", "save", "tied"), CASES)
def test_added_rows_are_loaded_or_named(tmp_path, kind, save, tied):
    expected = make(tmp_path, kind, tied=tied, rows=ROWS, save=save)
    lacks_output = kind == "lora on the embedding" and save and not tied
    state = torch.get_rng_state()
    if (kind, save) in INCOMPLETE or lacks_output:
        with pytest.raises(InputError, match=rf"has \d+ rows and that of the original {VOCABULARY}, .*--original, or"):
            load_with_adapter(str(tmp_path / "base"), tmp_path / "adapter")
        with pytest.raises(InputError, match="save_embedding_layers=True"):
            check_pair(str(tmp_path / "base"), tmp_path / "adapter")
        return
    check_pair(str(tmp_path / "base"), tmp_path / "adapter")
    found = load_with_adapter(str(tmp_path / "base"), tmp_path / "adapter")
    for ids in (IDS, ADDED):
        torch.testing.assert_close(logits(found.model, ids), logits(expected, ids), rtol=1e-4, atol=1e-5)
    assert found.model.config.vocab_size == ROWS
    assert torch.equal(torch.get_rng_state(), state), "no global generator moves"


@pytest.mark.parametrize(("kind", "tied"), [*itertools.product([kind for kind in KINDS if kind != "tokens"], (0, 1))])
def test_an_adapter_on_an_embedding_of_the_same_size_is_merged_as_peft_reads_it(tmp_path, kind, tied):
    """Tied ends get weights of their own: merging the adapter of one end would change the other."""
    expected = make(tmp_path, kind, tied=bool(tied), rows=VOCABULARY, save=True)
    found = load_with_adapter(str(tmp_path / "base"), tmp_path / "adapter")
    torch.testing.assert_close(logits(found.model, IDS), logits(expected, IDS), rtol=1e-4, atol=1e-5)


def test_fewer_rows_are_loaded_too(tmp_path):
    """Padding rows that a model came with are often cut off with resize_token_embeddings(len(tokenizer))."""
    expected = make(tmp_path, "both", tied=True, rows=VOCABULARY, base_rows=ROWS, save="auto")
    found = load_with_adapter(str(tmp_path / "base"), tmp_path / "adapter")
    torch.testing.assert_close(logits(found.model, IDS), logits(expected, IDS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["both", "nothing"])
def test_the_dtype_stays_that_of_the_original(tmp_path, kind):
    make(tmp_path, kind, tied=False, rows=ROWS, save="auto", dtype=torch.bfloat16)
    found = load_with_adapter(str(tmp_path / "base"), tmp_path / "adapter")
    assert {weight.dtype for weight in found.model.parameters()} == {torch.bfloat16}
    assert torch.isfinite(logits(found.model, ADDED)).all()


def test_the_hub_is_not_asked_for_the_base(tmp_path, monkeypatch):
    """An adapter names the base that it was trained on; nothing is looked up there."""
    make(tmp_path, "both", tied=False, rows=ROWS, save="auto")
    settings = tmp_path / "adapter" / "adapter_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "base_model_name_or_path": "nobody/nothing"}))
    monkeypatch.setattr(
        "peft.utils.save_and_load.check_file_exists_on_hf_hub", lambda *_: pytest.fail("the Hub is asked")
    )
    load_with_adapter(str(tmp_path / "base"), tmp_path / "adapter")


def test_rows_that_differ_within_an_adapter_are_refused(tmp_path):
    make(tmp_path, "both", tied=False, rows=ROWS, save=False)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("lm_head.weight"))
    save_file({**weights, name: weights[name][:-1].clone()}, file)
    with pytest.raises(InputError, match="does not contain all rows of both"):
        load_with_adapter(str(tmp_path / "base"), tmp_path / "adapter")
