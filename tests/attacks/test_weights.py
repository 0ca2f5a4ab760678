"""The line to the original, pruning and noise, each against what it says by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from expunge.attacks.weights import (
    AdapterRemoval,
    DifferencePruning,
    Interpolation,
    Pruning,
    WeightNoise,
    without_least,
)
from expunge.errors import InputError
from expunge.models.modules import block_linears
from tests.support.attacked import LAYOUTS, curve, loaded, state, task
from tests.support.tiny import llama


@pytest.fixture(params=LAYOUTS)
def pair(request):
    return tuple(LAYOUTS[request.param](seed) for seed in (0, 1))


def test_weights_on_the_line(pair):
    own, other = map(state, pair)
    for point, weights in curve(Interpolation(), pair[0], task(pair[1])):
        for name, weight in weights.items():
            torch.testing.assert_close(weight, own[name] + point.at * (other[name] - own[name]))
    assert [point.at for point, _ in curve(Interpolation(), pair[0], task(pair[1]))] == [0, 0.1, 0.25, 0.5, 0.75]


def test_without_its_adapter_a_model_is_the_original(pair):
    """Halved: original + (merged - original) / 2. Gone: the original, bit by bit."""
    own, other = map(state, pair)
    points = curve(AdapterRemoval(), pair[0], task(pair[1]))
    assert [point.at for point, _ in points] == [0, 0.5, 1]
    for name in own:
        torch.testing.assert_close(points[1][1][name], other[name] + 0.5 * (own[name] - other[name]))
        assert torch.equal(points[2][1][name], other[name])
    assert AdapterRemoval.threat.adapter
    assert not Interpolation.threat.adapter


def test_other_shapes_and_tokens_have_no_line():
    with pytest.raises(InputError, match="tensors or their shapes"):
        curve(Interpolation(), llama(0), task(llama(0, layers=3)))
    strange = loaded(llama(1))
    strange.tokenizer.add_tokens(["<another>"])
    its = task(llama(1))
    object.__setattr__(its, "original", lambda: strange)
    for attack in (Interpolation(), DifferencePruning()):
        with pytest.raises(InputError, match="other tokens"):
            curve(attack, llama(0), its)
    with pytest.raises(InputError, match="other layers"):
        curve(DifferencePruning(), llama(0), task(llama(0, layers=3)))


def test_the_lowest_scores_go_by_hand():
    weights = torch.tensor([[4.0, -1.0], [2.0, -3.0]])
    assert without_least(weights, weights.abs(), 0.5).tolist() == [[4, 0], [0, -3]]
    assert without_least(weights, -weights.abs(), 0.25).tolist() == [[0, -1], [2, -3]]
    assert without_least(weights, weights, 0.25).tolist() == [[4, -1], [2, 0]]
    assert without_least(torch.ones(5), torch.ones(5), 0.4).tolist() == [0, 0, 1, 1, 1]  # the first of equals
    assert weights.tolist() == [[4, -1], [2, -3]]


def test_each_matrix_loses_its_smallest_and_nothing_else_is_touched(pair):
    layers = block_linears(pair[0])
    own = state(pair[0])
    for point, weights in curve(Pruning(), pair[0], task())[1:]:
        for name in own:
            gone = weights[name] != own[name]
            if name.removesuffix(".weight") not in layers or name.endswith("bias"):
                assert not gone.any()
                continue
            assert int(gone.sum()) == round(point.at * own[name].numel())
            assert not weights[name][gone].any()
            assert own[name][gone].abs().max() <= own[name][~gone].abs().min()


def test_the_weights_that_unlearning_moved_furthest_go():
    """Ten weights of a matrix of 2048 were moved, 1 to 10 steps: 0.4 % are eight of them, and 1 % no more than ten."""
    original = llama(0)
    model = copy.deepcopy(original)
    with torch.no_grad():
        moved = model.model.layers[0].mlp.up_proj.weight
        moved[5, 3:13] += 0.01 * torch.arange(1, 11)
    total = sum(layer.weight.numel() for layer in block_linears(model).values())
    points = curve(DifferencePruning(shares=(0.004, 0.01)), model, task(original))
    for (point, weights), count in zip(points[1:], (8, 10), strict=True):
        expected = moved.detach().clone()
        expected[5, 13 - count : 13] = 0
        assert torch.equal(weights["model.layers.0.mlp.up_proj.weight"], expected)
        assert point.details == {"pruned": count / total}
        assert all(torch.equal(weights[name], item) for name, item in state(model).items() if "0.mlp.up" not in name)


def test_a_model_that_is_the_original_loses_nothing(pair):
    points = curve(DifferencePruning(), pair[0], task(pair[0]))
    assert all(torch.equal(weights[name], item) for _, weights in points for name, item in state(pair[0]).items())
    assert all(point.details == {"pruned": 0} for point, _ in points[1:])


def test_noise_has_the_size_of_each_tensor(pair):
    own = state(pair[0])
    for point, weights in curve(WeightNoise(), pair[0], task())[1:]:
        for name, weight in weights.items():
            noise, size = weight - own[name], own[name].std(correction=0)
            if weight.ndim > 1:
                spread = 6 * point.at / math.sqrt(2 * weight.numel())
                assert float(noise.std() / size) == pytest.approx(point.at, abs=spread)
                assert abs(float(noise.mean() / size)) < spread
            elif size == 0:  # a norm that was never trained
                assert torch.equal(weight, own[name])


def test_scales_are_steps_along_one_draw_and_draws_differ():
    own = state(llama(0).double())
    attack = WeightNoise()
    folds = [curve(attack, llama(0).double(), task(), fold) for fold in range(attack.folds)]
    assert len(folds) == 3
    name = "model.layers.1.self_attn.q_proj.weight"
    small, _, large = (weights[name] - own[name] for _, weights in folds[0][1:])
    torch.testing.assert_close(10 * small, large)
    again = curve(attack, llama(0).double(), task(seed=1))
    others = [points[3][1][name] for points in (*folds, again)]
    for number, one in enumerate(others):
        assert all(not torch.allclose(one, other, atol=1e-4) for other in others[number + 1 :])
    first = name.replace("1", "0")  # a tensor of the same shape has a stream of its own
    lower = folds[0][3][1][first] - own[first]
    assert abs(torch.corrcoef(torch.stack([large.flatten(), lower.flatten()]))[0, 1]) < 0.2
