"""Rounding removes changes below half a step; what is rounded and what is counted."""

from __future__ import annotations

import copy

import pytest
import torch

from expunge.attacks.quantisation import Quantisation, QuantisationNF4
from expunge.functional.quantise import nf4, round_to_nearest
from expunge.models.modules import block_linears
from tests.support.attacked import LAYOUTS, curve, loaded, logits, task
from tests.support.tiny import llama

GROUP = 16


@pytest.fixture(params=LAYOUTS)
def original(request):
    return LAYOUTS[request.param](0)


def nudged(original, parts: float):
    """Moves each weight but the largest of its group by a part of the way from its code to the border of the next."""
    model = copy.deepcopy(original)
    for layer in block_linears(model).values():
        by_input = layer.weight.data if isinstance(layer, torch.nn.Linear) else layer.weight.data.T
        for start in range(0, by_input.shape[1], GROUP):
            part = by_input[:, start : start + GROUP]
            step = part.abs().max(-1, keepdim=True).values / 7
            code = (part / step).round()
            # Away from the code by less than half a step, and not beyond the largest, which sets the step.
            moved = (code + torch.where(code > 0, -1, 1) * 0.5 * parts) * step
            part.copy_(torch.where(part.abs() == 7 * step, part, torch.where(code.abs() == 7, part, moved)))
    return model


def test_a_change_below_half_a_step_is_lost_in_four_bits(original):
    """Rounded, the unlearned model is the rounded original: same codes, same logits."""
    model = nudged(original, 0.98)
    assert not torch.allclose(logits(model), logits(original), atol=1e-3)
    rounded = copy.deepcopy(original)
    list(Quantisation(bits=(4,), group=GROUP).act(loaded(rounded), task(), 0))
    *_, point = Quantisation(bits=(4,), group=GROUP).act(loaded(model), task(original), 0)
    assert point.details["codes_differing"] == 0
    assert point.details["weights_changed"] > 0.8
    assert torch.equal(logits(model), logits(rounded))
    assert not torch.allclose(logits(model), logits(original), atol=1e-3)


def test_a_change_above_half_a_step_or_at_eight_bits_is_not(original):
    four, eight = (
        curve(Quantisation(bits=(bits,), group=GROUP), nudged(original, parts), task(original))[-1][0].details
        for bits, parts in ((4, 1.1), (8, 0.98))
    )
    assert four["codes_differing"] > 0.8
    assert eight["codes_differing"] > 0.8


def test_shares_by_hand():
    """One layer of three codes and two new values among all weights of the blocks."""
    original = llama(0)
    model = copy.deepcopy(original)
    with torch.no_grad():
        row = original.model.layers[1].mlp.up_proj.weight[3]
        row[:4] = torch.tensor([0.7, 0.0, 0.0, 0.21])
        row[4:] = 0.0
        changed = model.model.layers[1].mlp.up_proj.weight[3]
        changed.copy_(row)
        changed[:4] = torch.tensor([0.7, 0.3, -0.04, 0.21])  # codes 7 3 0 2 instead of 7 0 0 2
        model.model.embed_tokens.weight.zero_()  # not of a block, so not counted
    total = sum(layer.weight.numel() for layer in block_linears(model).values())
    assert total == 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 64)
    points = [point for point, _ in curve(Quantisation(bits=(4,), group=0), model, task(original))]
    assert [point.at for point in points] == [0, 4]
    assert points[0].details == {"weights_changed": 2 / total}
    assert points[1].details == {"weights_changed": 2 / total, "codes_differing": 1 / total}


def test_only_the_linear_layers_of_the_blocks_are_rounded(original):
    points = curve(Quantisation(bits=(3,)), original, task())
    rounded = {f"{name}.weight" for name in block_linears(original)}
    assert {name for name, weight in points[1][1].items() if not torch.equal(weight, points[0][1][name])} == rounded
    assert rounded.isdisjoint({"lm_head.weight", "transformer.wte.weight", "model.embed_tokens.weight"})
    assert len(rounded) == (8 if "transformer.wte.weight" in points[0][1] else 14)


def test_groups_run_along_the_inputs(original):
    """A Linear holds outputs first and a Conv1D inputs first."""
    (_, before), (_, four), (_, three) = curve(Quantisation(bits=(4, 3), group=GROUP), original, task())
    ((point, nf4_weights),) = curve(QuantisationNF4(group=GROUP), original, task())[1:]
    assert point.at == 4
    for name, layer in block_linears(original).items():
        linear = isinstance(layer, torch.nn.Linear)
        kept = before[f"{name}.weight"] if linear else before[f"{name}.weight"].T
        for weights, expected in (
            (four, round_to_nearest(kept, 4, GROUP)),
            (three, round_to_nearest(kept, 3, GROUP)),
            (nf4_weights, nf4(kept, GROUP)),
        ):
            found = weights[f"{name}.weight"]
            assert torch.equal(found if linear else found.T, expected.weights)


def test_without_an_original_nothing_is_told(original):
    assert all(point.details == {} for point, _ in curve(Quantisation(), original, task()))


def test_saving_in_bfloat16_changes_no_weight():
    original = llama(0)
    points = curve(Quantisation(bits=(8,)), copy.deepcopy(original).bfloat16(), task(original))
    assert points[0][0].details["weights_changed"] == 0


def test_an_original_of_another_shape_is_told_and_left_out():
    told = []
    points = curve(Quantisation(), llama(0), task(llama(0, layers=3), warn=told.append))
    assert all(point.details == {} for point, _ in points)
    assert len(told) == 1
    assert "other layers" in told[0]
