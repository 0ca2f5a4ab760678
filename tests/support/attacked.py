"""Tiny models of the layouts that attacks on weights meet, and tasks for them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from expunge.attacks.base import AttackTask
from expunge.models.load import LoadedModel
from tests.evaluation.worlds import make_splits, make_tokenizer
from tests.support.tiny import VOCABULARY, llama


def gpt2(seed: int = 0, *, layers: int = 2) -> GPT2LMHeadModel:
    """A random GPT-2 in evaluation mode; its biases are noise, so that none can be forgotten."""
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=layers, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(config).eval()
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.data.normal_(0, 0.1)
    return model


LAYOUTS: dict[str, Callable[..., Any]] = {
    "tied": lambda seed=0, **more: llama(seed, tied=True, **more),
    "untied": lambda seed=0, **more: llama(seed, tied=False, **more),
    "conv1d": gpt2,
}


def loaded(model: Any) -> LoadedModel:
    return LoadedModel(model, make_tokenizer(), "tiny")


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def task(original: Any = None, **more: Any) -> AttackTask:
    """A task on a dozen records of each split; the original is loaded anew each time."""
    source = None if original is None else (lambda: loaded(copy.deepcopy(original)))
    return AttackTask(splits=make_splits(), max_length=32, original=source, **more)


def curve(attack: Any, model: Any, its: AttackTask, fold: int = 0) -> list[tuple[Any, dict[str, torch.Tensor]]]:
    """Every point with the weights as they were there; the model handed in stays as it is."""
    copied = copy.deepcopy(model)
    return [(point, state(copied)) for point in attack.act(loaded(copied), its, fold)]


def logits(model: Any, seed: int = 0) -> torch.Tensor:
    ids = torch.randint(3, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return model(ids).logits
