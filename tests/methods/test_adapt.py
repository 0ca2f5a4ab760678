"""Learning rate and epochs by the model and the forget set: by hand, at the published sizes, and where no rule is."""

from __future__ import annotations

import pytest

from expunge.methods.adapt import epochs_for, least_steps, rate_for, rules_of
from expunge.methods.preset import Preset
from expunge.methods.recipe import preset_of, resolve
from expunge.registry import methods
from expunge.training.loop import total_steps

FEW = {"forget": 32, "retain": 96}


def test_the_learning_rate_by_hand():
    """1e-5 on a hidden size of 4096 is 6.4e-4 on 64: 64 times as high for a model 64 times as narrow."""
    assert rate_for(64, 1e-5, 4096) == pytest.approx(6.4e-4, rel=1e-12)
    assert rate_for(8192, 1e-5, 4096) == pytest.approx(5e-6, rel=1e-12)
    assert rate_for(4096, 1e-5, 4096) == 1e-5


@pytest.mark.parametrize("width", [16, 96, 4096])
def test_adams_first_step_moves_an_output_by_the_same_amount_at_every_width(width):
    """Adam's first step is the rate times a sign: with inputs of 1, an output moves by rate x width."""
    assert width * rate_for(width, 1e-5, 4096) == pytest.approx(0.04096, rel=1e-12)


@pytest.mark.parametrize(
    ("records", "batch_size", "epochs"),
    [(1, 32, 70), (32, 32, 70), (33, 32, 35), (40, 8, 14), (200, 32, 10), (400, 32, 10), (4000, 32, 10)],
)
def test_the_epochs_by_hand(records, batch_size, epochs):
    """At least 70 steps and at least 10 epochs; 33 records are two batches of 32."""
    assert epochs_for(70, records, batch_size, 10.0) == epochs


def test_the_default_method_takes_the_published_steps_on_a_small_set():
    recipe = resolve("npo").adapted_to(64, FEW)
    assert recipe.training.learning_rate == pytest.approx(6.4e-4)
    assert recipe.training.epochs == 70
    assert total_steps(recipe.training, FEW["forget"]) == 70 == least_steps(preset_of("npo"))
    assert recipe.adapted is not None
    assert recipe.adapted.given == ()
    reasons = recipe.reasons()
    assert reasons["learning_rate"].startswith("0.00064: 1e-05 x 4096 / 64, since")
    assert reasons["epochs"].startswith("70: with 32 records, the published 10")


@pytest.mark.parametrize("batch_size", [1, 7, 8, 32, 100])
def test_another_batch_size_takes_as_many_steps(batch_size):
    training = resolve("npo", {"batch_size": batch_size}).adapted_to(64, {"forget": 60}).training
    published = 10 * -(-60 // batch_size)
    assert total_steps(training, 60) == max(70, published)


def test_the_published_model_and_set_get_the_published_numbers():
    recipe = resolve("npo").adapted_to(4096, {"forget": 200})
    assert recipe.training == preset_of("npo").training
    assert recipe.reasons()["epochs"] == "10: as published"


@pytest.mark.parametrize("name", ["learning_rate", "epochs"])
def test_what_the_user_sets_stays_even_at_the_published_value(name):
    published = getattr(preset_of("npo").training, name)
    recipe = resolve("npo", {name: published}).adapted_to(64, FEW)
    assert getattr(recipe.training, name) == published
    other = {"learning_rate": "epochs", "epochs": "learning_rate"}[name]
    assert getattr(recipe.training, other) != getattr(preset_of("npo").training, other)
    assert recipe.reasons()[name].startswith(f"{published:.3g}: as given; the default would be ")
    assert "as given" not in recipe.reasons()[other]


def test_only_adamw_is_adapted():
    recipe = resolve("npo", {"optimizer": "sgd"}).adapted_to(64, FEW)
    assert recipe.training == preset_of("npo").training
    assert recipe.adapted is None
    assert recipe.reasons() == {"learning_rate": "1e-05: as published", "epochs": "10: as published"}


@pytest.mark.parametrize("name", methods.names())
def test_presets_without_a_rule_stay_as_published_and_all_others_only_change_two_numbers(name):
    recipe, preset = resolve(name), preset_of(name)
    found = recipe.adapted_to(64, {"forget": 32, "retain": 96, "general": 96, "steer": 8, "holdout": 8})
    assert (found.adapted is None) == (preset.published is None)
    assert bool(rules_of(preset)) == (preset.published is not None)
    if preset.published is None:
        assert found == recipe
        return
    assert found.training.learning_rate == pytest.approx(
        preset.training.learning_rate * preset.published.width / 64, rel=1e-12
    )
    changed = {key for key, value in vars(found.training).items() if value != getattr(preset.training, key)}
    assert changed <= {"learning_rate", "epochs"}
    assert (found.axes, found.method) == (recipe.axes, recipe.method)


def test_a_preset_says_its_rules_in_words():
    rules = rules_of(preset_of("npo"))
    assert rules["learning_rate"] == "1e-05 x 4096 / hidden size of the model, under AdamW"
    assert rules["epochs"] == "10, and more where these are fewer than 70 steps"
    assert rules_of(Preset(method=preset_of("npo").method)) == {}
