"""How many steps an attack says that it takes on one model, against those that it counts while it runs."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from expunge.attacks.running import run_attack
from expunge.registry import attacks
from expunge.storage.progress import Steps
from tests.support.attacked import loaded, task
from tests.support.tiny import llama

MANY = 1_000_000
EXACT = {
    "quantisation": {},
    "quantisation_nf4": {},
    "pruning": {},
    "difference_pruning": {},
    "interpolation": {},
    "weight_noise": {"draws": 2},
    "relearn_unrelated": {"points": (0, 1, 3), "rates": (1.0, 2.0)},
    "relearn_rtt": {"points": (1, 2), "folds": 2},
    "gcg": {"steps": 2, "candidates": 2, "top_k": 2, "prompts": 2, "length": 2},
    "soft_prompt": {"steps": 2, "every": 1, "length": 2, "controls": 2},
    "self_extraction": {"samples": 5, "length": 2, "keep": 2},
    "logit_lens": {},
    "prefix": {},
    "paraphrase": {},
}
AT_MOST = {  # records that cannot be looked at are not counted before, and neither are depths that are one block
    "direction_ablation": {},
    "head_projection": {},
    "input_rephrasing": {"samples": 2, "length": 2},
    "pii_reconstruction": {},
    "extraction_guesses": {"length": 2, "samples": 1},
    "uds": {},
}


@pytest.mark.parametrize("name", [*EXACT, *AT_MOST])
def test_an_attack_counts_the_steps_that_it_says(name: str) -> None:
    steps = Steps(MANY)
    model = llama()
    its = replace(task(model), steps=steps, retrained=lambda: loaded(copy.deepcopy(llama(1))))
    attack = attacks.get(name).at("quick", **(EXACT | AT_MOST)[name])
    run_attack(attack, lambda: loaded(copy.deepcopy(model)), its)
    expected = attack.count(its)
    assert expected >= 1
    assert steps.done == expected if name in EXACT else steps.done <= expected
