"""Presets, their axes and what they refuse."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from expunge.config import Choice
from expunge.errors import InputError, MissingNeedError, UnknownNameError
from expunge.methods.base import NEED_FLAGS, EditTask, LossMethod
from expunge.methods.preset import Axes, Training
from expunge.methods.recipe import preset_of, resolve
from expunge.methods.retain import RetainKL
from expunge.methods.task_vector import TaskVector
from expunge.registry import methods
from tests.support.tiny import llama


@pytest.mark.parametrize("name", methods.names())
def test_every_preset_resolves_and_says_where_it_comes_from(name):
    recipe = resolve(name)
    assert recipe.name == name
    assert recipe.method.spec.paper
    preset = preset_of(name)
    if isinstance(recipe.method, LossMethod) and name != "gradient_ascent":
        assert preset.source


@pytest.mark.parametrize("name", methods.names())
def test_each_setting_has_one_owner(name):
    own = {item.name for item in dataclasses.fields(resolve(name).method)}
    loop, axes = ({item.name for item in dataclasses.fields(cls)} for cls in (Training, Axes))
    assert not own & loop
    assert not own & axes
    assert not loop & axes


def test_changes_reach_their_owner():
    recipe = resolve("npo", {"beta": 0.5, "learning_rate": "1e-4", "retain_term": "kl", "retain_weight": 2})
    assert recipe.method.beta == 0.5
    assert recipe.training.learning_rate == 1e-4
    assert recipe.retain_term == RetainKL()
    assert recipe.axes.retain_weight == 2.0
    assert recipe.training.epochs == 10  # NPO's own, untouched


def test_presets_of_one_loss_differ_by_their_retain_term():
    found = {name: resolve(name).axes.retain_term.name for name in ("gradient_ascent", "grad_diff", "kl_min")}
    assert found == {"gradient_ascent": "none", "grad_diff": "nll", "kl_min": "kl"}


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"betta": 1}, UnknownNameError, "Did you mean 'beta'"),
        ({"beta": "much"}, InputError, "beta"),
        ({"learning_rate": -1}, InputError, "above 0"),
        ({"retain_term": {"name": "nll", "setting": {}}}, UnknownNameError, "settings"),
    ],
)
def test_nonsense_is_refused_by_name(changes, error, text):
    with pytest.raises(error, match=text):
        resolve("npo", changes)


def test_a_missing_need_names_its_flag():
    with pytest.raises(MissingNeedError, match="--retain"):
        resolve("npo").check(frozenset({"forget"}))
    with pytest.raises(MissingNeedError, match="--base"):
        resolve("retrain").check(frozenset({"forget", "retain"}))
    resolve("gradient_ascent").check(frozenset({"forget"}))
    with pytest.raises(UnknownNameError, match="retain term"):
        resolve("npo", {"retain_term": Choice("nl")}).check(frozenset({"forget", "retain"}))


@pytest.mark.parametrize("name", methods.names())
def test_each_need_that_is_missing_is_named_with_its_flag(name):
    recipe = resolve(name)
    needs = frozenset(recipe.needs())
    recipe.create_axes()
    recipe.check(needs)
    for need in needs:
        with pytest.raises(MissingNeedError) as refused:
            recipe.check(needs - {need})
        assert NEED_FLAGS[need] in str(refused.value)


def test_needs_come_from_every_part():
    """Retain term, relabeller, stopper, penalty, a stage before, and the method itself."""
    assert "general" in resolve("ga_kl_general").needs()
    assert "retain" in resolve("random_label", {"relabel": "random_answer"}).needs()
    assert "holdout" in resolve("gradient_ascent", {"stopper": "memorisation"}).needs()
    assert "retain" in resolve("gradient_ascent", {"penalty": "ewc"}).needs()
    assert set(resolve("noise").needs()) == {"forget", "retain"}
    assert "steer" in resolve("lunar").needs()


def test_task_vector_by_hand():
    """Original - scale * (reinforced - original), once for tied weights; scale 0 is the identity."""
    model, reinforced = llama(seed=0), llama(seed=1)
    before = {name: value.clone() for name, value in model.named_parameters()}
    other = dict(reinforced.named_parameters())
    TaskVector(scale=0.0).edit(model, EditTask(helpers={"reinforced": other}))
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    TaskVector(scale=0.5).edit(model, EditTask(helpers={"reinforced": other}))
    for name, value in model.named_parameters():
        assert torch.allclose(value, 1.5 * before[name] - 0.5 * other[name], atol=1e-6), name


def test_task_vector_refuses_another_layout():
    with pytest.raises(InputError, match="layout"):
        TaskVector().edit(llama(), EditTask(helpers={"reinforced": dict(llama(hidden=64).named_parameters())}))


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("retrain", {"parameters": "lora"}),
        ("retrain", {"retain_term": "kl"}),
        ("task_vector", {"learning_rate": 1.0}),
        ("task_vector", {"optimizer": "sgd"}),
        ("guardrail", {"learning_rate": 1.0}),
    ],
)
def test_what_a_method_makes_no_use_of_is_refused(method, changes):
    with pytest.raises(InputError, match=f"makes no use of '{next(iter(changes))}'"):
        resolve(method, changes)


@pytest.mark.parametrize("name", ["forget_weight", "retain_weight"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_weights_of_terms_that_cannot_be_meant_are_refused(name, value):
    with pytest.raises(InputError, match=name):
        resolve("npo", {name: value})


@pytest.mark.parametrize("method", ["npo", "idk_dpo"])
def test_a_temperature_is_checked_before_anything_runs(method):
    with pytest.raises(InputError, match="beta"):
        resolve(method, {"beta": -1.0})


@pytest.mark.parametrize(
    ("method", "changes", "text"),
    [
        ("gradient_ascent", {"combiner": "projection"}, "--retain-term"),
        ("gradient_ascent", {"combiner": "alternating"}, "--retain-term"),
        ("gradient_ascent", {"combiner": "primal_dual"}, "--retain-term"),
        ("retain_finetune", {"combiner": "projection"}, "no forget side"),
        ("idk", {"perturb": "tamper"}, "true ones"),
        ("jensun", {"perturb": "tamper"}, "true ones"),
    ],
)
def test_an_axis_without_its_side_is_refused_before_anything_runs(method, changes, text):
    with pytest.raises(InputError, match=text):
        resolve(method, changes).create_axes()


@pytest.mark.parametrize("perturb", ["latent", "sam"])
def test_nothing_is_perturbed_where_nothing_is_forgotten(perturb):
    with pytest.raises(InputError, match="perturb"):
        resolve("retain_finetune", {"perturb": perturb}).create_axes()


def test_every_preset_has_the_sides_that_its_axes_work_on():
    for name in methods.names():
        resolve(name).create_axes()
    resolve("lunar", {"combiner": "projection"}).create_axes()  # has a retain term of its own


def test_stages_run_with_the_seed_of_the_run_unless_they_have_one():
    (stage,) = resolve("noise", {"seed": 3}).before
    assert stage.training.seed == 3
    (stage,) = resolve("noise", {"seed": 3, "before": {"add_noise": {"seed": 5}}}).before
    assert stage.training.seed == 5
    with pytest.raises(InputError, match="by name"):
        resolve("noise", {"before": {"add_noise": 5}})


def test_noise_is_repaired_as_the_baseline_trains():
    assert resolve("noise").training == resolve("retain_finetune").training


def test_parts_are_all_stages_in_their_order():
    parts = resolve("tar").parts
    assert [part.name for part in parts] == ["random_mapping", "tar"]
    assert not any(part.before for part in parts)


def test_a_token_choice_without_true_answers_to_look_at_is_refused():
    for name in ("idk", "jensun", "random_label"):
        with pytest.raises(InputError, match="true answers"):
            resolve(name, {"tokens": "entities"}).create_axes()
        resolve(name, {"tokens": "skip_first"}).create_axes()
    resolve("idk_dpo", {"tokens": "entities"}).create_axes()
