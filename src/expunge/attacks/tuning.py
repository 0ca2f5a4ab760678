"""Fine-tuning as an attack: a plain loop that stops at given steps, so that the model can be read in between."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from expunge.attacks.base import AttackTask, ModelAttack, Point
from expunge.attacks.telling import told
from expunge.data.batch import Example, collate
from expunge.data.record import Record
from expunge.data.tokenize import encode_all, pad_id
from expunge.errors import InputError
from expunge.methods.adapt import rate_for
from expunge.methods.preset import Training
from expunge.models.generate import seeded
from expunge.models.load import LoadedModel
from expunge.models.reading import read
from expunge.registry import attacks
from expunge.training.gradients import clip
from expunge.training.optimizers import AdamW
from expunge.training.order import rows_between

PAPER_RATE, PAPER_WIDTH = 2e-5, 4096  # of AdamW on models of 7 billion parameters, and their hidden size
POINTS = (0, 1, 2, 5, 10, 20, 40)
# The papers go through the texts several times, and Deeb & Roger keep the best of several learning rates.
PAPER: Mapping[str, Any] = {"points": (0, 1, 2, 5, 10, 20, 40, 80, 160, 320), "rates": (0.3, 1.0, 3.0)}
MAX_NORM = 1.0  # of a gradient; a broken model's first ones would weigh on Adam's second moments for long


class Lesson(NamedTuple):
    """What one fold tunes on, and the numbers of the forget records that it shows thereby."""

    records: Sequence[Record]
    shown: frozenset[int]


@dataclass(frozen=True, kw_only=True)
class Tuning(ModelAttack):
    """Base of the attacks that fine-tune: AdamW on answer tokens, constant learning rate, no weight decay.

    The copy is cast to float32 and read so at every point, since small steps vanish in bfloat16. Forget records that
    the texts give away (``expunge.attacks.telling``) count as shown at every point, at 0 too: a curve is over the same
    records from its start to its end.

    Attributes:
        points: optimizer steps after which the model is read, ascending.
        learning_rate: of AdamW; None for 2e-5 * 4096 / hidden size. Under Adam a hidden layer's rate that does the same
            goes with 1 / width (Yang et al., 2022, https://arxiv.org/abs/2203.03466), so that a small model is tuned as
            hard as one of 7 billion parameters at 2e-5. It reads the configuration and no weights: the unlearned and
            the retrained model are tuned alike.
        rates: factors of the learning rate; with each a curve of its own, of which the worst counts.
        batch_size: records in one optimizer step; all of them where there are fewer.
        folds: how many times it acts, each time on a fresh copy.
    """

    axis: ClassVar[str] = "optimizer steps"

    points: tuple[int, ...] = POINTS
    learning_rate: float | None = None
    rates: tuple[float, ...] = (1.0,)
    batch_size: int = 8
    folds: int = 1

    def __post_init__(self) -> None:
        """Refuses what cannot be meant."""
        if not self.points or self.points[0] < 0 or list(self.points) != sorted(set(self.points)):
            raise InputError(f"points are steps from 0, each larger than the one before, not {self.points}.")
        if self.learning_rate is not None and not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"learning_rate must be a finite number above 0, not {self.learning_rate}.")
        apart = len({f"{rate:g}" for rate in self.rates}) == len(self.rates)
        if not self.rates or not apart or not all(0 < rate < math.inf for rate in self.rates):
            raise InputError(f"rates are factors above 0 that differ in six digits, not {self.rates}.")
        if self.batch_size < 1 or self.folds < 1:
            raise InputError(f"batch_size ({self.batch_size}) and folds ({self.folds}) must be at least 1.")

    @abstractmethod
    def lesson(self, task: AttackTask, fold: int) -> Lesson:
        """Returns what one fold tunes on; the same task and fold give the same."""

    def rate(self, loaded: LoadedModel) -> float:
        """Learning rate for a model, of the first curve."""
        width = int(loaded.model.config.get_text_config().hidden_size)
        own = rate_for(width, PAPER_RATE, PAPER_WIDTH) if self.learning_rate is None else self.learning_rate
        return own * self.rates[0]

    def series(self) -> Mapping[str, ModelAttack]:
        """One for each learning rate."""
        if len(self.rates) == 1:
            return {"": self}
        return {f"rate x{rate:g}": replace(self, rates=(rate,)) for rate in self.rates}

    def count(self, task: AttackTask) -> int:
        """Optimizer steps and readings."""
        return self.folds * len(self.rates) * (self.points[-1] + len(self.points))

    def act(self, loaded: LoadedModel, task: AttackTask, fold: int) -> Iterator[Point]:
        """Tunes ``loaded.model``, in float32, and stops after each of ``points``."""
        lesson = self.lesson(task, fold)
        encoded = encode_all(lesson.records, loaded.tokenizer, max_length=loaded.limit(task.max_length))
        loaded.model.float()
        run = _Run(self, loaded, encoded.examples, task, fold)
        numbers = {"learning_rate": self.rate(loaded), "records": float(len(lesson.records))}
        for point in self.points:
            run.until(point)
            loss = {} if run.loss is None else {"loss": run.loss}
            yield Point(float(point), lesson.shown, {**numbers, **loss, "skipped": float(run.skipped)})


def shows(task: AttackTask, records: Sequence[Record]) -> frozenset[int]:
    """Numbers of the forget records that some texts give away."""
    return frozenset(int(number) for number in np.flatnonzero(told(records, task.forget).any(axis=0)))


class _Run:
    """One fold: optimizer and step number. Between steps the model is in evaluation mode and takes no gradients.

    Attributes:
        loss: mean over the answer tokens of the last batch, nats, before its step; None before the first step.
        skipped: steps without a finite gradient, which change nothing.
    """

    def __init__(
        self, attack: Tuning, loaded: LoadedModel, examples: Sequence[Example], task: AttackTask, fold: int
    ) -> None:
        self.model: Any = loaded.model
        self.pad = pad_id(loaded.tokenizer)
        self.examples, self.task = examples, task
        self.name = attacks.name_of(attack)
        self.batch_size = min(attack.batch_size, len(examples))
        self.stream = f"{self.name}/{fold}"
        self.step, self.skipped = 0, 0
        self.loss: float | None = None
        self.parameters = [one for one in loaded.model.parameters() if one.is_floating_point()]
        settings = Training(learning_rate=attack.rate(loaded), weight_decay=0.0)
        self.optimizer = AdamW().create(self.parameters, settings)
        self._rest()

    def until(self, step: int) -> None:
        """Goes on to a step."""
        while self.step < step:
            self.task.check_stop(self.name)
            self._one_step()
            self.task.steps.advance()
        self._rest()

    def _one_step(self) -> None:
        start, seed = self.step * self.batch_size, self.task.seed
        rows = rows_between(len(self.examples), start, start + self.batch_size, seed, self.stream)
        self.model.train()
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        # Seeded for every step anew: dropout moves no global generator, and draws the same on every model.
        with torch.enable_grad(), seeded(self.model.device, seed * 1_000_003 + self.step):
            self.loss = self._gradient([self.examples[row] for row in rows])
        if math.isfinite(clip(self.parameters, MAX_NORM)):
            self.optimizer.step()
        else:
            self.skipped += 1
        self.step += 1
        self.optimizer.zero_grad(set_to_none=True)

    def _gradient(self, examples: Sequence[Example]) -> float:
        """Leaves the gradient of the mean over the batch's answer tokens; returns the mean, nats."""
        tokens, size, total = sum(example.scored for example in examples), self.task.batch_size, 0.0
        for first in range(0, len(examples), size):
            batch = collate(examples[first : first + size], self.pad).to(self.model.device)
            loss = -read(self.model, batch).token_logps.sum() / tokens
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def _rest(self) -> None:
        self.model.eval()
        for parameter in self.parameters:
            parameter.requires_grad_(False)
            parameter.grad = None
