"""A small world in which every method can be run as the workflow runs it: a model that knows some invented persons."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from expunge.benchmarks.fictional import Fictional
from expunge.config import Choice
from expunge.data.record import Record
from expunge.data.tokenize import encode_all, pad_id
from expunge.exact.retrain import FitTask, Retrain
from expunge.methods.base import LossMethod
from expunge.methods.preset import Axes, Training
from expunge.methods.recipe import Recipe, resolve
from expunge.models.load import build_model
from expunge.models.reading import example_logps
from expunge.storage.events import Event
from expunge.storage.run import RunFolder
from expunge.training.gradients import Gradients
from expunge.workflows.produce import Product, produce
from expunge.workflows.work import Work

STEPS, BATCH = 12, 8  # three batches an epoch, so four epochs
SLOW, FAST = 1e-3, 1e-2  # learning rates for all weights, and for a few
MAX_LENGTH = 256


@dataclass(frozen=True)
class World:
    """A model, its tokenizer and records."""

    model: Any
    tokenizer: Any
    splits: Mapping[str, list[Record]]

    def likelihood(self, model: Any) -> float:
        """Mean log-probability of the forget answers' tokens, nats."""
        examples = encode_all(self.splits["forget"], self.tokenizer, max_length=MAX_LENGTH).examples
        logps = example_logps(model, examples, pad_id(self.tokenizer))
        return sum(float(each.sum()) for each in logps) / sum(example.scored for example in examples)

    @classmethod
    def make(cls) -> World:
        """Trains the original on everything: some seconds."""
        torch.set_num_threads(1)
        benchmark = Fictional(preset="pool")
        tokenizer, recipe = benchmark.tokenizer(), benchmark.recipe
        model = build_model(benchmark.model_config(tokenizer), seed=0)
        training = Training(
            learning_rate=recipe.learning_rate,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            micro_batch=recipe.batch_size,
            checkpoint_every=0,
        )
        Retrain().fit(
            FitTask(
                model=model,
                keep=encode_all(benchmark.training(), tokenizer, max_length=MAX_LENGTH).examples,
                leave_out=[],
                axes=Axes(optimizer=Choice("adamw", {"beta2": 0.95})),
                training=training,
                pad_id=pad_id(tokenizer),
            )
        )
        return cls(model.eval().requires_grad_(False), tokenizer, {**benchmark.sources(), **benchmark.splits()})

    def work(self, recipe: Recipe, out: Path, listen: Callable[[Event], None], stop: Callable[[], bool]) -> Work:
        """The same work at every call, so that a second one goes on in the folder of the first."""
        run = RunFolder.create(out, {"verb": "unlearn", "method": recipe.name}, (listen,))
        return Work(
            recipe=recipe,
            model=copy.deepcopy(self.model),
            build=lambda: copy.deepcopy(self.model),
            tokenizer=self.tokenizer,
            splits=self.splits,
            run=run,
            max_length=MAX_LENGTH,
            stop_requested=stop,
            checkpoints=run.checkpoints,
            secret=b"test",
        )


@dataclass
class Outcome:
    """What a run did: its terms step by step, those of earlier stages not among them, and what it made."""

    recipe: Recipe
    terms: list[dict[str, float]] = field(default_factory=list)
    product: Product | None = None

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """Weights of the product by name."""
        assert self.product is not None
        return {name: weight.detach().clone() for name, weight in self.product.model.named_parameters()}

    @property
    def main_term(self) -> str:
        """The term that makes the model forget, or what stands for it."""
        return "forget" if "forget" in self.terms[0] else next(iter(self.terms[0]))

    def mean(self, term: str, first: int | None, last: int | None) -> float:
        """Mean of a term over some steps, as a slice has them."""
        chosen = self.terms[first:last]
        return sum(step[term] for step in chosen) / len(chosen)


def short(name: str, **changes: Any) -> Recipe:
    """A preset with few steps, its own parts and settings otherwise."""
    plain = resolve(name)
    rate = SLOW if plain.axes.parameters.name == "all" and changes.get("parameters") is None else FAST
    loop: dict[str, Any] = {
        "learning_rate": rate,
        "max_steps": STEPS,
        "epochs": STEPS,
        "batch_size": BATCH,
        "micro_batch": BATCH,
        "warmup": 0.0,
        "schedule": "constant",
        "checkpoint_every": 3,
    }
    loop |= {"parameters": changes["parameters"]} if "parameters" in changes else {}
    stages = {stage.name: loop for stage in plain.before if isinstance(stage.method, LossMethod)}
    return resolve(name, {**loop, **({"before": stages} if stages else {}), **changes})


def carry_out(world: World, recipe: Recipe, out: Path, *, stop_after: int | None = None) -> Outcome:
    """Runs a recipe as the workflow does; ``stop_after`` asks it to stop after that many steps."""
    outcome = Outcome(recipe)
    seen: list[int] = []

    def listen(event: Event) -> None:
        if event.kind == "phase":
            outcome.terms.clear()  # of the stage before
        if event.kind == "metric":
            seen.append(event.data["step"])
            outcome.terms.append(dict(event.data["terms"]))

    stop = (lambda: False) if stop_after is None else lambda: len(seen) >= stop_after
    outcome.product = produce(world.work(recipe, out, listen, stop))
    return outcome


class Meter:
    """Counts float tensors of the shape of a weight, in copies of the model, whenever gradients were taken.

    Args:
        model: what a copy is.
        changing: the model as it is trained, whose weights may have other shapes.
    """

    def __init__(self, model: torch.nn.Module, changing: torch.nn.Module) -> None:
        weights = [*model.parameters(), *changing.parameters()]
        self.shapes = {tuple(weight.shape) for weight in weights if weight.ndim > 1}
        self.unit = sum(weight.numel() for weight in model.parameters() if weight.ndim > 1)
        self.before = self._tensors()  # held, so that no later tensor takes the place of one of them
        self.most = 0.0

    def watch(self, patch: Any) -> None:
        """Looks after every call of ``Gradients``."""
        real = Gradients.__call__

        def looked(itself: Gradients, *args: Any, **keys: Any) -> dict[str, float]:
            found = real(itself, *args, **keys)
            self.most = max(self.most, self._live() / self.unit)
            return found

        patch.setattr(Gradients, "__call__", looked)

    def _tensors(self) -> list[torch.Tensor]:
        return [
            thing
            for thing in gc.get_objects()
            if isinstance(thing, torch.Tensor) and tuple(thing.shape) in self.shapes and thing.is_floating_point()
        ]

    def _live(self) -> int:
        known = {tensor.untyped_storage().data_ptr() for tensor in self.before}
        found = self._tensors()
        gradients = [tensor.grad for tensor in found if tensor.is_leaf and tensor.grad is not None]
        places = {tensor.untyped_storage().data_ptr(): tensor.numel() for tensor in (*found, *gradients)}
        return sum(size for place, size in places.items() if place not in known)
