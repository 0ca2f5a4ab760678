"""Presets on other labels: their parts, and what they need."""

from __future__ import annotations

import pytest

from expunge.config import Choice
from expunge.errors import MissingNeedError
from expunge.methods.recipe import preset_of, resolve
from expunge.methods.relabelled import RelabelledNLL
from expunge.registry import relabellers

LABELS = {
    "random_label": ("random_token", "none", 1, ("forget",)),
    "adversarial_label": ("top1_wrong", "none", 1, ("forget",)),
    "counterfactual": ("counterfactual", "nll", 5, ("forget", "retain")),
    "masked_entities": ("masked", "nll", 1, ("forget", "retain")),
    "noise_text": ("noisy_text", "nll", 1, ("forget", "retain")),
    "noise_labels": ("random_token", "nll", 1, ("forget", "retain")),
}
ASCENT = {
    "ga_descent_general": ("nll", "general"),
    "ga_descent_indist": ("nll", "retain"),
    "ga_kl_general": ("kl", "general"),
    "ga_kl_indist": ("kl", "retain"),
}


@pytest.mark.parametrize("name", LABELS)
def test_parts(name):
    relabel, retain, answers, needs = LABELS[name]
    recipe = resolve(name)
    assert recipe.method == RelabelledNLL(answers=answers)
    assert (recipe.axes.relabel.name, recipe.axes.retain_term.name) == (relabel, retain)
    assert [(view.source, view.relabel, view.sample) for view in recipe.method.views()] == [
        ("forget", True, sample) for sample in range(answers)
    ]
    assert recipe.needs() == needs
    recipe.axes.relabel.create(relabellers)
    assert preset_of(name).departs


def test_a_relabeller_that_reads_the_retain_set_needs_it_whatever_the_retain_term():
    with pytest.raises(MissingNeedError, match="--retain FILE"):
        resolve("noise_text", {"retain_term": "none"}).check(frozenset({"forget"}))
    resolve("noise_labels", {"retain_term": "none"}).check(frozenset({"forget"}))
    # One that no view asks for needs nothing.
    resolve("gradient_ascent", {"relabel": "random_answer"}).check(frozenset({"forget"}))


@pytest.mark.parametrize("name", ASCENT)
def test_ascent_with_a_retain_term_of_its_own_source(name):
    term, source = ASCENT[name]
    preset = preset_of(name)
    assert preset.method == Choice("gradient_ascent")
    assert preset.axes.retain_term == Choice(term, {"source": source})
    assert (preset.training.learning_rate, preset.training.epochs) == (2e-5, 1)
    assert (preset.training.schedule, preset.training.warmup) == ("cosine", 0.03)
