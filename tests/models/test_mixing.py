"""Models between two others: by hand, in every dtype, and only between models of one shape."""

from __future__ import annotations

import copy

import pytest
import torch

from expunge.errors import InputError
from expunge.models import mixing
from expunge.models.load import load_model, save_model, weights_digest
from expunge.models.mixing import load_mixed, mix_into
from tests.evaluation.worlds import make_tokenizer
from tests.support.tiny import llama


@pytest.fixture
def folders(tmp_path):
    """An unlearned model and its original, their output weights tied to the embeddings."""
    for name, seed in (("unlearned", 0), ("original", 1)):
        save_model(llama(seed), make_tokenizer(), tmp_path / name)
    return tmp_path / "unlearned", tmp_path / "original"


def filled(value: float, dtype: torch.dtype = torch.float32) -> torch.nn.Linear:
    layer = torch.nn.Linear(2, 1, bias=False, dtype=dtype)
    with torch.no_grad():
        layer.weight.fill_(value)
    return layer


def test_a_quarter_of_the_original_by_hand():
    """0.75 * 4 + 0.25 * 8 = 5, and not the 7 of the other direction."""
    layer = filled(4.0)
    mix_into(layer, filled(8.0), 0.25)
    assert layer.weight.tolist() == [[5.0, 5.0]]


def test_half_precision_is_mixed_in_float32_and_rounded_once():
    values = torch.linspace(-3, 3, 257).bfloat16()
    own, other = (torch.nn.ParameterList([torch.nn.Parameter(one)]) for one in (values.clone(), values.flip(0)))
    mix_into(own, other, 0.3)
    assert own[0].dtype == torch.bfloat16
    assert torch.equal(own[0], (0.7 * values.float() + 0.3 * values.flip(0).float()).bfloat16())
    assert not torch.equal(own[0], 0.7 * values + 0.3 * values.flip(0))  # rounded at every step


def test_float64_stays_exact():
    layer = filled(1.0, torch.float64)
    mix_into(layer, filled(1.0 + 2**-40, torch.float64), 0.5)
    assert layer.weight[0, 0].item() == 1.0 + 2**-41


def test_tied_weights_are_moved_once(folders):
    """The state names them twice; moved twice they would be 0.36 and 0.64 of the two."""
    mixed = load_mixed(*folders, 0.4).model
    own, other = (load_model(folder).model.model.embed_tokens.weight for folder in folders)
    assert torch.equal(mixed.model.embed_tokens.weight, (1 - 0.4) * own + 0.4 * other)
    assert mixed.lm_head.weight is mixed.model.embed_tokens.weight


def test_the_ends_are_the_saved_folders_and_load_no_other(folders, monkeypatch):
    loads = []
    monkeypatch.setattr(mixing, "load_model", lambda source, **more: loads.append(source) or load_model(source, **more))
    for share, folder in zip((0, 1), folders, strict=True):
        assert weights_digest(load_mixed(*folders, share).model) == weights_digest(load_model(folder).model)
    assert loads == list(folders)


def test_every_weight_lies_between(folders):
    mixed, (own, other) = load_mixed(*folders, 0.1).model, (load_model(folder).model for folder in folders)
    pairs = zip(mixed.parameters(), own.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, (1 - 0.1) * b + 0.1 * c) for a, b, c in pairs)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_what_is_no_share_is_refused(folders, share):
    with pytest.raises(InputError, match="no share of the original"):
        load_mixed(*folders, share)


def test_other_weights_shapes_and_tokens_are_refused(folders, tmp_path):
    for number, model in enumerate((llama(hidden=64), llama(layers=3), llama(tied=False))):
        save_model(model, make_tokenizer(), tmp_path / str(number))
        with pytest.raises(InputError, match="differ in .* tensors or their shapes"):
            load_mixed(folders[0], tmp_path / str(number), 0.5)
    tokenizer = copy.deepcopy(make_tokenizer())
    tokenizer.add_tokens(["<another>"])
    save_model(llama(), tokenizer, tmp_path / "tokens")
    with pytest.raises(InputError, match="other tokens"):
        load_mixed(folders[0], tmp_path / "tokens", 0.5)


def test_integers_are_not_mixed():
    pair = [torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)]  # counts its batches
    mix_into(*pair, 0.5)
    pair[1].num_batches_tracked += 2
    with pytest.raises(InputError, match="num_batches_tracked holds integers"):
        mix_into(*pair, 0.5)
