"""TAR after fine-tuning attacks: does the forgetting hold longer than that of methods that were not trained for it?"""

from __future__ import annotations

import copy

import pytest
import torch

from expunge.data.tokenize import encode_all, pad_id
from expunge.methods.finetune import Finetune
from expunge.methods.preset import Axes, Training
from expunge.methods.recipe import resolve
from expunge.methods.retain import NoRetain
from expunge.models.reading import example_logps
from expunge.training.loop import Job, train
from tests.workflows.conforming import MAX_LENGTH, World, carry_out

LOOP = {
    "learning_rate": 1e-3,
    "batch_size": 8,
    "micro_batch": 8,
    "warmup": 0.0,
    "schedule": "constant",
    "checkpoint_every": 0,
    "epochs": 100,
}
ATTACK = Training(
    learning_rate=3e-4, max_steps=20, epochs=100, batch_size=6, warmup=0.0, schedule="constant", checkpoint_every=0
)
MARGIN = 1.0  # nats per token


def relearnt(world: World, model: torch.nn.Module) -> tuple[float, float]:
    """Mean log-probability of the forget answers after an attack on half of them: of that half, and of the rest."""
    examples = encode_all(world.splits["forget"], world.tokenizer, max_length=MAX_LENGTH).examples
    half, filler = len(examples) // 2, pad_id(world.tokenizer)
    attacked = copy.deepcopy(model).requires_grad_(True)
    train(
        Job(
            model=attacked,
            method=Finetune(),
            retain_term=NoRetain(),
            axes=Axes(),
            training=ATTACK,
            examples={"train": examples[:half]},
            pad_id=filler,
        )
    )
    seen, unseen = (
        sum(float(each.sum()) for each in example_logps(attacked, part, filler)) / sum(one.scored for one in part)
        for part in (examples[:half], examples[half:])
    )
    return seen, unseen


@pytest.mark.slow
def test_tar_withstands_relearning_longer_than_methods_that_were_not_trained_for_it(trained, tmp_path):
    """Twenty steps of AdamW at 3e-4 on half of the forget set, an attack that TAR's own training does not contain."""
    tamper = {"name": "tamper", "settings": {"steps": 8, "learning_rates": (3e-4, 1e-3)}}
    recipes = {
        "tar": resolve(
            "tar",
            {**LOOP, "max_steps": 30, "before": {"random_mapping": {**LOOP, "max_steps": 60}}, "perturb": tamper},
        ),
        "random_mapping": resolve("random_mapping", {**LOOP, "max_steps": 90}),
        "npo": resolve("npo", {**LOOP, "max_steps": 40}),
    }
    after = {}
    for name, recipe in recipes.items():
        model = carry_out(trained, recipe, tmp_path / name).product.model
        assert trained.likelihood(model) < trained.likelihood(trained.model) - 2  # all have forgotten before the attack
        after[name] = relearnt(trained, model)
    for name in ("random_mapping", "npo"):
        for tar, other in zip(after["tar"], after[name], strict=True):
            assert tar < other - MARGIN, (name, after)
