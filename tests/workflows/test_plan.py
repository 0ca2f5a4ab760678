"""Plans without a run: what is refused, and arithmetic where a model is too large to be tried out."""

from __future__ import annotations

import pytest
from transformers import AutoModelForCausalLM

from expunge.api import Request, plan
from expunge.errors import InputError, MissingNeedError
from expunge.workflows import plan as module


def request(world, tmp_path, **changes) -> Request:
    given = {"model": world.model, "forget": world.forget, "retain": world.retain, "max_length": 64}
    return Request(**{**given, "out": tmp_path / "unused", **changes})


@pytest.mark.parametrize("method", ["npo", "kl_min", "task_vector", "guardrail"])
def test_small_models_are_tried_out(world, tmp_path, method):
    made = plan(request(world, tmp_path, method=method))
    assert made.basis == "measured"
    assert (made.train_seconds > 0) == (method != "guardrail")
    assert made.audit_seconds > 0
    assert not (tmp_path / "unused").exists()


def test_retraining_counts_all_records(world, tmp_path):
    made = plan(request(world, tmp_path, method="retrain", base=world.base, settings={"epochs": 3, "batch_size": 8}))
    assert made.steps == 9  # 24 records


def test_large_models_are_estimated(world, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MEASURED_BYTES", 0)
    settings = {"epochs": 2, "batch_size": 6}
    once = plan(request(world, tmp_path, settings=settings))
    thrice = plan(request(world, tmp_path, settings={**settings, "epochs": 6}))
    weights = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_pretrained(world.model).parameters())
    assert once.basis == thrice.basis == "estimated"
    assert once.parameters == weights
    assert (once.steps, thrice.steps) == (4, 12)
    assert once.memory_bytes - module.LIBRARIES_BYTES == 4 * weights * 4  # weights, gradients, two moments: float32
    lora = plan(
        request(world, tmp_path, settings={**settings, "parameters": {"name": "lora", "settings": {"rank": 2}}})
    )
    assert 4 * weights < lora.memory_bytes - module.LIBRARIES_BYTES < 1.5 * 4 * weights
    assert (
        1 < thrice.train_seconds / once.train_seconds < 9
    )  # three times the steps; the machine's speed is measured anew


def test_what_unlearn_refuses_is_refused(world, tmp_path):
    with pytest.raises(MissingNeedError, match="--retain"):
        plan(request(world, tmp_path, retain=None))
    with pytest.raises(InputError, match="local model folder"):
        plan(request(world, tmp_path, model="nobody/nothing"))
