"""Noise on weights: its size, its place, and that nothing else moves."""

from __future__ import annotations

import pytest
import torch

from expunge.errors import InputError
from expunge.methods.add_noise import AddNoise
from expunge.methods.base import EditTask
from tests.support.tiny import llama


def task(*loud: str, seed: int = 0) -> EditTask:
    """Fisher information of 1 everywhere, and of 5 on the forget side for the tensors named."""

    def fisher(split: str, records: int) -> dict[str, torch.Tensor]:
        return {
            name: torch.full_like(weight, 5.0 if split == "forget" and name in loud else 1.0)
            for name, weight in llama().named_parameters()
        }

    return EditTask(fisher=fisher, seed=seed)


def moved(method: AddNoise, given: EditTask) -> dict[str, torch.Tensor]:
    model = llama()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    method.edit(model, given)
    change = {name: weight.detach() - before[name] for name, weight in model.named_parameters()}
    return {name: value for name, value in change.items() if value.any()}


def test_noise_has_the_size_that_was_asked_for_on_every_tensor():
    changes = moved(AddNoise(scale=0.1, share=1.0), EditTask())
    weights = dict(llama().named_parameters())
    for name, change in changes.items():
        if change.numel() > 1000:
            assert float(change.std()) == pytest.approx(0.1 * float(weights[name].std()), rel=0.1), name
            assert abs(float(change.mean())) < 0.01 * float(weights[name].std()), name
    assert {name for name, weight in weights.items() if weight.std() > 0} == set(changes)


def test_no_scale_is_the_identity():
    assert not moved(AddNoise(scale=0.0, share=1.0), EditTask())


def test_only_the_tensors_that_matter_more_for_the_forget_side_move():
    names = [name for name, _ in llama().named_parameters() if "proj" in name]
    share = 2 / len(dict(llama().named_parameters()))
    assert set(moved(AddNoise(scale=0.1, share=share), task(names[3], names[7]))) == {names[3], names[7]}


def test_the_same_seed_and_tensor_draw_the_same_noise_whatever_else_is_chosen():
    name = next(name for name, _ in llama().named_parameters() if "proj" in name)
    every = moved(AddNoise(scale=0.1, share=1.0), EditTask())
    alone = moved(AddNoise(scale=0.1, share=1e-9), task(name))
    assert set(alone) == {name}
    assert torch.equal(every[name], alone[name])
    assert not torch.equal(moved(AddNoise(scale=0.1, share=1.0), EditTask(seed=1))[name], alone[name])


def test_needs_follow_the_share():
    assert AddNoise().needs() == ("forget", "retain")
    assert AddNoise(share=1.0).needs() == ("forget",)


@pytest.mark.parametrize("settings", [{"scale": -1.0}, {"share": 0.0}, {"share": 1.5}, {"records": 0}])
def test_nonsense_is_refused(settings):
    with pytest.raises(InputError, match="Noise needs"):
        AddNoise(**settings)
