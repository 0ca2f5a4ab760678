"""What differs between two folders: by part, tensor by tensor, and whether it is the last layer only."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from expunge.models.changes import changes
from expunge.models.load import build_model, save_model
from tests.evaluation.worlds import make_tokenizer
from tests.models.conftest import CONFIGS
from tests.support.tiny import llama


def saved(model, path: Path) -> Path:
    save_model(model, make_tokenizer(), path)
    return path


def edited(model, *names: str):
    """A copy whose tensors with these in their names are moved by 1 in their first value."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if any(part in name for part in names):
                parameter.view(-1)[0] += 1.0
    return other


def of_parts(found) -> dict[str, int]:
    return {part.part: part.changed for part in found.parts}


def test_what_changed_is_counted_by_part(tmp_path):
    model = llama(tied=False, layers=3)
    before = saved(model, tmp_path / "before")
    found = changes(before, saved(edited(model, "layers.1.mlp.up_proj", "norm.weight"), tmp_path / "after"))
    # Two norms in each of three blocks and one after them; the last is "output".
    assert of_parts(found) == {"embeddings": 0, "0": 2, "1": 3, "2": 2, "output": 1}
    assert found.share == 8 / sum(parameter.numel() for parameter in model.parameters())
    assert not found.shallow
    up = model.model.layers[1].mlp.up_proj.weight
    block = sum(float(p.double().square().sum()) for p in model.model.layers[1].parameters()) ** 0.5
    (second,) = (part for part in found.parts if part.part == "1")
    assert second.relative == pytest.approx(3**0.5 / block, rel=1e-6)
    assert second.weights == sum(p.numel() for p in model.model.layers[1].parameters()) > up.numel()


@pytest.mark.parametrize(
    ("names", "shallow"),
    [
        (("lm_head",), True),
        (("layers.2.",), True),
        (("layers.2.", "model.norm", "lm_head"), True),
        (("layers.1.",), False),
        (("embed_tokens",), False),
        ((), False),
    ],
)
def test_shallow_is_nothing_below_the_last_block(tmp_path, names, shallow):
    model = llama(tied=False, layers=3)
    found = changes(saved(model, tmp_path / "before"), saved(edited(model, *names), tmp_path / "after"))
    assert found.shallow == shallow


@pytest.mark.parametrize("by", [1e-7, 1e-4])
def test_a_trace_below_hides_no_edit_of_the_last_layer(tmp_path, by):
    """One weight of the first block moved by next to nothing, beside a head that was moved by 1."""
    model = llama(tied=False, layers=3)
    hidden = edited(model, "lm_head")
    with torch.no_grad():
        hidden.model.layers[0].mlp.up_proj.weight.view(-1)[0] += by
    assert changes(saved(model, tmp_path / "before"), saved(hidden, tmp_path / "after")).shallow


def test_another_dtype_changes_nothing(tmp_path):
    model = llama(tied=False, layers=3)
    before = saved(model, tmp_path / "before")
    save_model(edited(model, "lm_head"), make_tokenizer(), tmp_path / "after", dtype=torch.bfloat16)
    found = changes(before, tmp_path / "after")
    assert found.shallow
    assert of_parts(found) == {"embeddings": 0, "0": 0, "1": 0, "2": 0, "output": 1}


def test_a_head_that_was_untied_and_edited_is_found(tmp_path):
    tied, free = llama(tied=True, layers=3), llama(tied=False, layers=3)
    with torch.no_grad():
        for name, parameter in tied.named_parameters():
            dict(free.named_parameters())[name].copy_(parameter)
        free.lm_head.weight.copy_(tied.lm_head.weight)
        free.lm_head.weight.view(-1)[0] += 1.0
    found = changes(saved(tied, tmp_path / "before"), saved(free, tmp_path / "after"))
    assert found.shallow
    assert of_parts(found) == {"embeddings": 0, "0": 0, "1": 0, "2": 0, "output": 1}
    back = changes(tmp_path / "after", tmp_path / "before")
    assert of_parts(back)["output"] == 1


def test_tied_embeddings_are_output_too(tmp_path):
    model = llama(tied=True, layers=3)
    found = changes(saved(model, tmp_path / "before"), saved(edited(model, "embed_tokens"), tmp_path / "after"))
    assert found.tied
    assert found.shallow


def test_a_model_of_one_block_is_never_shallow(tmp_path):
    model = llama(tied=False, layers=1)
    found = changes(saved(model, tmp_path / "before"), saved(edited(model, "lm_head"), tmp_path / "after"))
    assert not found.shallow


@pytest.mark.parametrize("name", CONFIGS)
def test_parts_of_every_architecture(tmp_path, name):
    model = build_model(CONFIGS[name], seed=0)
    before = saved(model, tmp_path / "before")
    same = changes(before, before)
    assert [part.part for part in same.parts] == ["embeddings", "0", "1", "output"]
    assert same.share == 0
    assert sum(part.weights for part in same.parts) == sum(parameter.numel() for parameter in model.parameters())
    head = edited(model)
    with torch.no_grad():
        head.get_output_embeddings().weight.view(-1)[0] += 1.0
    assert changes(before, saved(head, tmp_path / "after")).shallow


def test_another_architecture_cannot_be_compared(tmp_path):
    one = saved(llama(layers=3), tmp_path / "one")
    assert changes(one, saved(llama(layers=2), tmp_path / "two")) is None
    assert changes(one, saved(llama(layers=3, hidden=16), tmp_path / "three")) is None
