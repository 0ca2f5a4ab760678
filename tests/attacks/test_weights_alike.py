"""What holds for every attack on weights: points start from the saved weights, dtypes stay, a stop is heard."""

from __future__ import annotations

import copy

import pytest
import torch

from expunge.attacks.base import ModelAttack
from expunge.errors import ExpungeError, InputError, InterruptedRunError, MissingNeedError
from expunge.registry import attacks
from tests.support.attacked import LAYOUTS, curve, loaded, state, task

# Several points each, of which the last alone must give the same weights as the last of all.
CURVES = {
    "quantisation": ("bits", (8, 4)),
    "quantisation_nf4": ("group", None),
    "adapter_removal": ("shares", (0.5, 0.75)),
    "interpolation": ("shares", (0.25, 0.5)),
    "pruning": ("shares", (0.1, 0.5)),
    "difference_pruning": ("shares", (0.1, 0.3)),
    "weight_noise": ("scales", (0.01, 0.1)),
    "direction_ablation": ("depths", (0.0, 1.0)),
}


@pytest.fixture(params=LAYOUTS)
def pair(request):
    """An unlearned model and its original."""
    return tuple(LAYOUTS[request.param](seed) for seed in (0, 1))


def attack(name: str, places: tuple[float, ...] | None = None) -> ModelAttack:
    setting, values = CURVES[name]
    return attacks.get(name).at("quick", **({} if values is None else {setting: places or values}))


@pytest.mark.parametrize("name", CURVES)
def test_each_point_starts_from_the_saved_weights(pair, name):
    own, original = pair
    points = curve(attack(name), own, task(original))
    assert points[0][0].at == 0
    assert all(torch.equal(weight, points[0][1][key]) for key, weight in state(own).items())
    if CURVES[name][1] is None:
        return
    alone = curve(attack(name, CURVES[name][1][-1:]), own, task(original))
    assert alone[-1][0].at == points[-1][0].at
    assert all(torch.equal(weight, alone[-1][1][key]) for key, weight in points[-1][1].items())
    assert any(not torch.equal(weight, points[1][1][key]) for key, weight in points[2][1].items())


@pytest.mark.parametrize("name", CURVES)
def test_points_differ_from_the_saved_weights_and_from_each_other(pair, name):
    points = curve(attack(name), pair[0], task(pair[1]))
    assert len({point.at for point, _ in points}) == len(points) > 1
    for point, weights in points[1:]:
        moved = [key for key, weight in weights.items() if not torch.equal(weight, points[0][1][key])]
        assert moved, point


@pytest.mark.parametrize("name", CURVES)
def test_dtype_tying_mode_and_gradients_stay(pair, name):
    own, original = (model.bfloat16() for model in pair)
    model = copy.deepcopy(own)
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    for _ in attack(name).act(loaded(model), task(original), 0):
        assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
        assert not model.training
        assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
        assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied
        assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
        assert all(torch.isfinite(weight).all() for weight in model.parameters())


@pytest.mark.parametrize("name", CURVES)
def test_same_seed_same_weights_and_no_global_draw(pair, name):
    before = torch.random.get_rng_state()
    first, again = (curve(attack(name), pair[0], task(pair[1], seed=7)) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    for (point, weights), (other, others) in zip(first, again, strict=True):
        assert point == other
        assert all(torch.equal(weight, others[key]) for key, weight in weights.items())


@pytest.mark.parametrize("name", CURVES)
def test_a_stop_is_heard(pair, name):
    asked = task(pair[1], stop_requested=lambda: True)
    with pytest.raises(InterruptedRunError, match=f"during the attack {name};"):
        list(attack(name).act(loaded(pair[0]), asked, 0))


@pytest.mark.parametrize("name", CURVES)
def test_the_original_is_asked_for_where_it_is_needed(name):
    chosen = attack(name)
    if chosen.threat.original:
        with pytest.raises(MissingNeedError, match="--original"):
            chosen.check(task())
        with pytest.raises(InputError, match="--original"):
            list(chosen.act(loaded(LAYOUTS["tied"]()), task(), 0))
    else:
        chosen.check(task())
        assert len(curve(chosen, LAYOUTS["tied"](), task())) > 1


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("quantisation", {"bits": ()}),
        ("quantisation", {"bits": (4, 4)}),
        ("quantisation", {"bits": (16,)}),
        ("quantisation", {"group": -1}),
        ("quantisation_nf4", {"group": -1}),
        ("interpolation", {"shares": ()}),
        ("interpolation", {"shares": (0.0, 0.5)}),
        ("adapter_removal", {"shares": (0.5, 1.1)}),
        ("pruning", {"shares": (0.5, 0.1)}),
        ("difference_pruning", {"shares": (float("nan"),)}),
        ("weight_noise", {"scales": (0.1, 0.1)}),
        ("weight_noise", {"scales": (float("inf"),)}),
        ("weight_noise", {"draws": 0}),
        ("direction_ablation", {"depths": ()}),
        ("direction_ablation", {"depths": (1.5,)}),
        ("direction_ablation", {"records": 0}),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(name, settings):
    with pytest.raises(ExpungeError):
        attacks.get(name).at("quick", **settings)


@pytest.mark.parametrize("name", CURVES)
def test_the_paper_budget_is_one_of_this_attack(name):
    chosen = attacks.get(name).at("paper")
    assert name in chosen.label
    assert chosen.threat.access == "weights"
    assert "https://" in chosen.threat.paper
