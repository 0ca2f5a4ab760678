"""What differs between two folders: by part, tensor by tensor, and whether it is the last layer only."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from expunge.models.changes import changes, equal_weights
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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_copy_in_another_dtype_has_the_same_weights(tmp_path, dtype):
    model = llama(tied=False, layers=2)
    with torch.no_grad():
        model.lm_head.weight.view(-1)[:3] = torch.tensor([3e-8, 1e-6, 300.0])  # two subnormals of float16
    before = saved(model, tmp_path / "before")
    save_model(model, make_tokenizer(), tmp_path / "after", dtype=dtype)
    for one, other in ((before, tmp_path / "after"), (tmp_path / "after", before)):
        assert equal_weights(one, other)
        assert changes(one, other).equal


def test_two_copies_in_two_coarse_dtypes_have_the_same_weights(tmp_path):
    for dtype, name in ((torch.float16, "half"), (torch.bfloat16, "brain")):
        save_model(llama(layers=2), make_tokenizer(), tmp_path / name, dtype=dtype)
    assert equal_weights(tmp_path / "half", tmp_path / "brain")


def test_shards_metadata_and_a_tied_head_that_is_saved_change_no_weights(tmp_path):
    tied, free = llama(tied=True, layers=2), llama(tied=False, layers=2)
    with torch.no_grad():
        for name, parameter in tied.named_parameters():
            dict(free.named_parameters())[name].copy_(parameter)
        free.lm_head.weight.copy_(tied.lm_head.weight)
    before = saved(tied, tmp_path / "before")
    free.save_pretrained(tmp_path / "sharded", max_shard_size="10KB")
    make_tokenizer().save_pretrained(tmp_path / "sharded")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    assert equal_weights(before, tmp_path / "sharded")
    shutil.copytree(before, tmp_path / "noted")
    file = tmp_path / "noted" / "model.safetensors"
    save_file(load_file(file), file, metadata={"format": "pt", "note": "copy"})
    assert equal_weights(before, tmp_path / "noted")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_step_of_training_is_told_from_a_copy(tmp_path, dtype):
    """AdamW moves each weight by the learning rate, whatever the gradient; small weights show it in every dtype."""
    model = llama(tied=False, layers=2)
    before = saved(model, tmp_path / "before")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    tokens = torch.arange(8)[None]
    model(input_ids=tokens, labels=tokens).loss.backward()
    optimizer.step()
    save_model(model, make_tokenizer(), tmp_path / "after", dtype=dtype)
    assert not equal_weights(before, tmp_path / "after")
    assert not changes(before, tmp_path / "after").equal


@pytest.mark.parametrize(("by", "equal"), [(1 + 2**-9, True), (1 + 2**-6, False)])
def test_a_weight_is_equal_within_the_rounding_of_the_coarser_dtype(tmp_path, by, equal):
    """1.0 in bfloat16 beside a float32 weight: half of a unit in the last place is 2^-8 of it."""
    model = llama(tied=False, layers=1)
    save_model(model, make_tokenizer(), tmp_path / "coarse", dtype=torch.bfloat16)
    with torch.no_grad():
        model.model.norm.weight.view(-1)[0] *= by
    assert equal_weights(tmp_path / "coarse", saved(model, tmp_path / "fine")) is equal


def test_other_shapes_and_other_weights_are_not_equal(tmp_path):
    one = saved(llama(layers=3), tmp_path / "one")
    assert not equal_weights(one, saved(llama(layers=2), tmp_path / "two"))
    assert not equal_weights(one, saved(llama(layers=3, hidden=16), tmp_path / "three"))
    assert not equal_weights(one, saved(llama(layers=3, seed=9), tmp_path / "four"))
