"""Penalties by hand, against autograd, and as the identity where their weight is 0."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from expunge.config import Choice
from expunge.errors import InputError, MissingNeedError
from expunge.methods.recipe import resolve
from expunge.registry import penalties
from expunge.training.penalties import EWC, L1, L2SP, NoPenalty, Penalty, quantile

EXACT = 1e-12  # float64


def never(records: int) -> dict[str, torch.Tensor]:
    raise AssertionError("nothing here needs a Fisher diagonal")


def weights(*shapes: tuple[int, ...], seed: int = 0) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"w{number}": nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))
        for number, shape in enumerate(shapes)
    }


def one(*values: float) -> dict[str, nn.Parameter]:
    return {"w": nn.Parameter(torch.tensor(values, dtype=torch.float64))}


def moved(parameters: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Other weights with a gradient of ones already there."""
    shift = weights(*(tuple(value.shape) for value in parameters.values()), seed=1)
    with torch.no_grad():
        for parameter, other in zip(parameters.values(), shift.values(), strict=True):
            parameter += other
            parameter.grad = torch.ones_like(parameter)
    return parameters


def test_l2_sp_by_hand():
    parameters = one(1.0, -2.0)
    state = L2SP(weight=0.5).prepare(parameters, never)
    with torch.no_grad():
        parameters["w"] += torch.tensor([3.0, -1.0])
    parameters["w"].grad = torch.tensor([10.0, 20.0], dtype=torch.float64)
    assert L2SP(weight=0.5).add(parameters, state, 0.7) == pytest.approx(0.5 * (9 + 1), abs=EXACT)
    assert parameters["w"].grad.tolist() == pytest.approx([10 + 3.0, 20 - 1.0], abs=EXACT)


def test_ewc_by_hand():
    parameters, asked = one(1.0, -2.0, 0.0), []

    def fisher(records: int) -> dict[str, torch.Tensor]:
        asked.append(records)
        return {"w": torch.tensor([4.0, 1.0, 100.0])}

    penalty = EWC(weight=0.5, records=7, clip=2 / 3)
    state = penalty.prepare(parameters, fisher)
    assert asked == [7]
    with torch.no_grad():
        parameters["w"] += torch.tensor([3.0, -1.0, 0.5])
    # F clipped at 4: 0.25 (4 * 9 + 1 * 1 + 4 * 0.25) and 0.5 F shift
    assert penalty.add(parameters, state, 0.0) == pytest.approx(0.25 * 38, abs=EXACT)
    assert parameters["w"].grad.tolist() == pytest.approx([6.0, -0.5, 1.0], abs=EXACT)


def test_l1_by_hand_and_its_decay():
    for penalty, progress, weight in ((L1(weight=0.2), 0.25, 0.15), (L1(weight=0.2, decay=False), 0.25, 0.2)):
        parameters = one(1.0, -2.0, 0.0)
        parameters["w"].grad = torch.ones(3, dtype=torch.float64)
        assert penalty.add(parameters, {}, progress) == pytest.approx(3 * weight, abs=EXACT)
        assert parameters["w"].grad.tolist() == pytest.approx([1 + weight, 1 - weight, 1.0], abs=EXACT)


@pytest.mark.parametrize("penalty", [L2SP(weight=0.3), EWC(weight=0.3, clip=0.8), L1(weight=0.3)])
def test_gradient_is_that_of_the_value(penalty: Penalty):
    """Autograd of the value that is logged, at float64."""
    parameters = weights((3, 4), (5,))
    fisher = {name: value.detach().square() for name, value in weights((3, 4), (5,), seed=2).items()}
    origin = {name: value.detach().clone() for name, value in parameters.items()}
    state = penalty.prepare(parameters, lambda records: fisher)
    at = moved(copy.deepcopy(parameters))
    before = {name: value.detach().clone() for name, value in at.items()}
    value = penalty.add(at, state, 0.5)

    def formula(name: str, weight: torch.Tensor) -> torch.Tensor:
        shift = weight - origin[name]
        if isinstance(penalty, L2SP):
            return 0.3 * shift.square().sum()
        if isinstance(penalty, L1):
            return 0.3 * 0.5 * weight.abs().sum()
        return 0.15 * (fisher[name].clamp(max=quantile(fisher.values(), 0.8)) * shift.square()).sum()

    oracle = {name: weight.clone().requires_grad_(True) for name, weight in before.items()}
    total = sum(formula(name, weight) for name, weight in oracle.items())
    total.backward()
    assert value == pytest.approx(total.item(), rel=1e-12)
    for name, weight in oracle.items():
        assert torch.allclose(at[name].grad, 1 + weight.grad, atol=EXACT)
        assert torch.equal(at[name], before[name])


@pytest.mark.parametrize("penalty", [NoPenalty(), L2SP(weight=0.0), EWC(weight=0.0), L1(weight=0.0)])
def test_weight_0_is_the_identity_and_costs_nothing(penalty: Penalty):
    parameters = weights((3, 4), (5,))
    state = penalty.prepare(parameters, never)
    assert not state
    at = moved(parameters)
    assert penalty.add(at, state, 0.0) == 0.0
    assert all(bool((parameter.grad == 1).all()) for parameter in at.values())


@pytest.mark.parametrize("penalty", [L2SP(), EWC()])
def test_nothing_pulls_at_the_start(penalty: Penalty):
    parameters = weights((3, 4))
    state = penalty.prepare(parameters, lambda records: {"w0": torch.ones(3, 4)})
    assert penalty.add(parameters, state, 0.0) == 0.0
    assert not parameters["w0"].grad.any()


def test_copies_are_those_of_the_state():
    parameters = weights((3, 4))
    for name in penalties.names():
        penalty = Choice(name).create(penalties)
        state = penalty.prepare(parameters, lambda records: {"w0": torch.ones(3, 4)})
        assert penalty.copies == sum(value.numel() for value in state.values()) / 12, name


@given(
    st.lists(st.lists(st.floats(0, 2.0**100, width=32), min_size=1, max_size=8), min_size=1, max_size=4),
    st.floats(0.01, 1.0),
)
def test_quantile_equals_sorting(values: list[list[float]], share: float):
    ordered = sorted(value for part in values for value in part)
    expected = ordered[math.ceil(share * len(ordered) - 1e-9) - 1]
    assert quantile([torch.tensor(part) for part in values], share) == expected


@pytest.mark.parametrize(
    ("name", "settings"),
    [("l2_sp", {"weight": -1.0}), ("ewc", {"records": 0}), ("ewc", {"clip": 0.0}), ("l1", {"weight": float("inf")})],
)
def test_settings_without_meaning_are_refused(name, settings):
    with pytest.raises(InputError):
        Choice(name, settings).create(penalties)


def test_ewc_needs_the_retain_set():
    recipe = resolve("gradient_ascent", {"penalty": "ewc"})
    assert recipe.needs() == ("forget", "retain")
    with pytest.raises(MissingNeedError, match="--retain"):
        recipe.check(frozenset({"forget"}))
    assert resolve("gradient_ascent", {"penalty": "l2_sp"}).needs() == ("forget",)
