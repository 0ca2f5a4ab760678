"""The loop: effective batches in, changed weights out; killed and run again it ends in the same weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from accelerate import Accelerator
from torch import nn

from expunge.data.batch import Example
from expunge.errors import DivergedError, InterruptedRunError
from expunge.methods.base import LossMethod, Start
from expunge.methods.preset import Axes, Training
from expunge.methods.retain import RetainTerm
from expunge.models.modes import dropping
from expunge.models.modules import base_model
from expunge.models.reading import mean_hidden
from expunge.registry import combiners, optimizers, penalties, perturbations, stoppers
from expunge.storage.disk import remove
from expunge.training import checkpoint, distributed
from expunge.training.combiners import Combiner, Moment
from expunge.training.curvature import empirical_fisher, estimate
from expunge.training.direction import Direction
from expunge.training.gradients import Gradients, clip, trainable
from expunge.training.guard import runaway
from expunge.training.look import Ends, Look
from expunge.training.memory import fitting, largest_piece, not_repeated
from expunge.training.optimizers import learning_rate
from expunge.training.optimizers.sophia import SophiaOptimizer
from expunge.training.order import steps_per_epoch
from expunge.training.penalties import NoPenalty, Penalty
from expunge.training.perturbations.base import Perturbation
from expunge.training.step import ReferenceLike, Step, view_specs
from expunge.training.stoppers import Stopper
from expunge.training.streams import StepData, Streams

ROUNDING = 1e-9


class StepReport(NamedTuple):
    """Numbers of one optimizer step, for logs, curves and stoppers."""

    step: int
    steps: int
    terms: dict[str, float]
    grad_norm: float
    learning_rate: float


class TrainResult(NamedTuple):
    """How a run ended: steps taken, and why it stopped."""

    steps: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to train.

    Attributes:
        model: the causal language model; its trainable parameters change in place.
        method: the loss.
        retain_term: the retain axis.
        axes: weights of the terms, optimizer, stopper.
        training: numbers of the loop.
        examples: tokenised records of each view.
        references: reference of each view that declares one.
        pad_id: token that fills up.
        end_id: token that ends a text, beside those that the model's own configuration names.
        probes: tokenised records by source that stopper and penalty read, whatever the views are.
        checkpoints: folder for checkpoints; None keeps none, and a run that diverges has nothing to go back to.
        listener: told of every step, in the main process.
        warn: called with each warning, in the main process.
        micro_batch_changed: called with a step, from 1, and the micro-batch that memory leaves from there on.
        stop_requested: asked after every step, in every process; True checkpoints and raises ``InterruptedRunError``.
    """

    model: nn.Module
    method: LossMethod
    retain_term: RetainTerm
    axes: Axes
    training: Training
    examples: Mapping[str, Sequence[Example]]
    references: Mapping[str, ReferenceLike] = field(default_factory=dict)
    pad_id: int = 0
    end_id: int | None = None
    probes: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    checkpoints: Path | None = None
    listener: Callable[[StepReport], None] = lambda report: None
    warn: Callable[[str], None] = lambda text: None
    micro_batch_changed: Callable[[int, int], None] = lambda step, size: None
    stop_requested: Callable[[], bool] = lambda: False

    @property
    def partial(self) -> bool:
        """Whether a gradient may leave weights out, since a term ends below the output layer."""
        return any(spec.hidden is not None for spec in view_specs(self.method, self.retain_term))

    def streams(self) -> Streams:
        """Effective batches of this job."""
        return Streams(
            specs=view_specs(self.method, self.retain_term),
            examples=self.examples,
            batch_size=self.training.batch_size,
            micro_batch=self.training.micro_batch or min(8, self.training.batch_size),
            seed=self.training.seed,
            pad_id=self.pad_id,
        )


def total_steps(training: Training, records: int) -> int:
    """Returns the number of optimizer steps that a run over ``records`` records takes."""
    # 0.07 * 100 is 7.000000000000001 in binary, and ceil would take one step more.
    steps = math.ceil(training.epochs * steps_per_epoch(records, training.batch_size) - ROUNDING)
    return steps if training.max_steps is None else min(steps, training.max_steps)


def train(job: Job, accelerator: Accelerator | None = None) -> TrainResult:
    """Runs a job to its end, with the processes that the launcher started unless an accelerator is handed in.

    Raises:
        DivergedError: a step was not finite or not sane; the model holds the last good checkpoint.
        InterruptedRunError: stopped on request; the same call goes on from the checkpoint.
    """
    with dropping(job.model, job.training.dropout):
        return _Run(job, accelerator or distributed.accelerator(job.model, partial=job.partial)).run()


class _Run:
    """One run of the loop; lives as long as ``train``."""

    def __init__(self, job: Job, accelerator: Accelerator) -> None:
        self.job = job
        self.accelerator = accelerator
        self.streams = job.streams()
        self.steps = total_steps(job.training, self.streams.size)
        axes = job.axes
        self.weights = {"forget": axes.forget_weight, "retain": axes.retain_weight, **job.method.term_weights()}
        scales = job.method.scales()
        own = {"penalty": math.inf, "retain": job.retain_term.scale, "attacked": scales.get("forget", 1.0)}
        self.scales = {**own, **scales}
        self.perturbation: Perturbation = axes.perturb.create(perturbations)
        self.combiner: Combiner = axes.combiner.create(combiners)
        self.penalty: Penalty = axes.penalty.create(penalties)
        step = Step(job.model, job.method, job.retain_term, job.references, self.perturbation)
        optimizer = axes.optimizer.create(optimizers).create(trainable(step).values(), job.training)
        self.step, self.optimizer = accelerator.prepare(step, optimizer)
        self.raw_optimizer: Any = getattr(self.optimizer, "optimizer", self.optimizer)
        self.stopper: Stopper = axes.stopper.create(stoppers)
        self.gradients = Gradients(accelerator, self.step)
        # Made at the weights that were handed in, before a checkpoint takes their place.
        self.drawn_to = self.penalty.prepare(self.gradients.parameters, self._fisher)

    def run(self) -> TrainResult:
        progress = self._resume()
        self.step.train()
        while progress.step < self.steps and progress.reason is None:
            progress.reason = self._one_step(progress)
            if self._checkpoint_due(progress):
                self._save(progress)
            if progress.reason is None and self._stop_requested():
                self._save(progress)
                raise InterruptedRunError(
                    f"Stopped after step {progress.step} of {self.steps}; the same command goes on."
                )
        self.step.eval()
        return TrainResult(progress.step, progress.reason or "all steps done")

    def _one_step(self, progress: checkpoint.Progress) -> str | None:
        job, number = self.job, progress.step
        moment = Moment(number, self.steps)
        terms = fitting(lambda: self._gradient(progress, moment), lambda: self._halve(progress, number))
        progress.step += 1
        if terms is None:
            return None
        if not isinstance(self.penalty, NoPenalty):
            terms["penalty"] = self.penalty.add(self.gradients.parameters, self.drawn_to, moment.share)
        norm = clip(list(self.gradients.parameters.values()), job.training.max_grad_norm)
        trouble = runaway(terms, norm, job.training.runaway, self.scales)
        if trouble:
            self._roll_back(number, trouble)
        rate = learning_rate(job.training, number, self.steps)
        for group in self.raw_optimizer.param_groups:
            group["lr"] = rate
        if isinstance(self.raw_optimizer, SophiaOptimizer) and self.raw_optimizer.wants_curvature(number):
            seed = _step_seed(job.training.seed, number, 0)
            curvature = fitting(
                lambda: estimate(self.accelerator, self.step, self._data(number), seed),
                lambda: self._halve(progress, number),
            )
            self.raw_optimizer.curvature(curvature)
        self.raw_optimizer.step()
        if self.accelerator.is_main_process:
            job.listener(StepReport(progress.step, self.steps, terms, norm, rate))
        progress.combiner = self.combiner.update(progress.combiner, terms, moment)
        return self._judge(progress, terms)

    def _gradient(self, progress: checkpoint.Progress, moment: Moment) -> dict[str, float] | None:
        """Leaves the gradient of a step in ``.grad`` and returns its terms; None if all its records are left out."""
        seed, number = self.job.training.seed, moment.step
        # Seeded for every step anew, on every device: dropout needs no state to be resumed, and ranks differ.
        torch.manual_seed(_step_seed(seed, number, self.accelerator.process_index))
        data = self._data(number)
        if not data.micro_batches:
            return None
        direction = Direction(
            gradients=self.gradients,
            number=number,
            data=data,
            others=lambda: self._others(number),
            state=progress.method,
            weights=self.combiner.weights(self.weights, progress.combiner, moment),
            seed=_step_seed(seed, number, 0),  # the same on all ranks
        )
        return direction.find(self.combiner, self.perturbation)

    def _halve(self, progress: checkpoint.Progress, number: int) -> bool:
        """Halves the micro-batch from this step on; the effective batch stays. False if there is nothing to halve."""
        size = largest_piece(self.streams.batch_size, self.streams.micro_batch, self.accelerator.num_processes)
        if size == 1:
            return False
        if self.accelerator.num_processes > 1:
            raise not_repeated(number + 1, size)
        self.step.zero_grad(set_to_none=True)
        progress.micro_batch = size // 2
        self.streams = replace(self.streams, micro_batch=size // 2)
        self.job.micro_batch_changed(number + 1, size // 2)
        self.job.warn(
            f"Memory ran out in step {number + 1}. The step is repeated with micro-batches of {size // 2} records in "
            f"place of {size}; the effective batch of {self.streams.batch_size} stays."
        )
        return True

    def _judge(self, progress: checkpoint.Progress, terms: Mapping[str, float]) -> str | None:
        """Asks the stopper, which may find a model that no term of the step before it could show to be broken."""
        try:
            verdict = self.stopper.update(progress.stopper, terms, self._look(progress.step))
        except DivergedError as trouble:
            self._roll_back(progress.step - 1, str(trouble))
        progress.stopper = verdict.state
        return verdict.reason

    def _look(self, step: int) -> Look:
        def agree(value: float) -> float:
            tensor = torch.tensor(value, device=self.accelerator.device)
            return float(self.accelerator.reduce(tensor, reduction="mean"))

        job = self.job
        return Look(
            step=step,
            steps_per_epoch=self.streams.steps_per_epoch,
            model=job.model,
            records={**job.examples, **job.probes},
            ends=Ends(job.end_id, job.pad_id),
            agree=agree if self.accelerator.num_processes > 1 else float,
        )

    def _data(self, number: int) -> StepData:
        accelerator = self.accelerator
        return self.streams.step_data(number, rank=accelerator.process_index, ranks=accelerator.num_processes)

    def _others(self, number: int) -> list[StepData]:
        """The other effective batches of a step's epoch, the next one first."""
        size = self.streams.steps_per_epoch
        epoch, place = divmod(number, size)
        others = (self._data(epoch * size + (place + ahead) % size) for ahead in range(1, size))
        return [data for data in others if data.micro_batches]

    def _stop_requested(self) -> bool:
        """Whether any process was asked to stop: all must leave at the same step, or the others wait for ever."""
        asked = torch.tensor(float(self.job.stop_requested()), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, reduction="sum") > 0)

    def _checkpoint_due(self, progress: checkpoint.Progress) -> bool:
        every = self.job.training.checkpoint_every
        ends = progress.reason is not None or progress.step == self.steps
        return self.job.checkpoints is not None and (ends or (every > 0 and progress.step % every == 0))

    def _save(self, progress: checkpoint.Progress) -> None:
        if self.job.checkpoints is not None:
            checkpoint.save(
                self.job.checkpoints,
                progress,
                self.gradients.parameters,
                self.raw_optimizer,
                write=self.accelerator.is_main_process,
            )
            self.accelerator.wait_for_everyone()

    def _resume(self) -> checkpoint.Progress:
        start = Start(
            hidden_size=base_model(self.job.model).config.get_text_config().hidden_size,  # type: ignore[union-attr, operator]
            records={name: len(examples) for name, examples in self.job.examples.items()},
            seed=self.job.training.seed,
            mean_hidden=self._mean_hidden,
        )
        fresh = checkpoint.Progress(
            step=0, method=dict(self.job.method.init(start)), combiner=self.combiner.start(), stopper={}
        )
        found = self._load_newest()
        if found is not None:
            return found
        fresh.stopper = self.stopper.start(self._look(0))
        self._save(fresh)  # what a run that diverges at once goes back to
        return fresh

    def _load_newest(self) -> checkpoint.Progress | None:
        """Restores the newest intact checkpoint, and removes damaged ones with a warning."""
        if self.job.checkpoints is None:
            return None
        search = checkpoint.load_newest(self.job.checkpoints, self.gradients.parameters, self.raw_optimizer)
        self.accelerator.wait_for_everyone()  # nobody may write or remove a checkpoint before all have looked
        if search.damaged and self.accelerator.is_main_process:
            self.job.warn(checkpoint.describe_damage(search))
            for path in search.damaged:
                remove(path)
        if search.progress is not None and search.progress.micro_batch is not None:
            self.streams = replace(self.streams, micro_batch=search.progress.micro_batch)
        return search.progress

    def _fisher(self, records: int) -> Mapping[str, torch.Tensor]:
        job = self.job
        return empirical_fisher(job.model, job.probes["retain"], job.pad_id, records, self.gradients.parameters)

    def _mean_hidden(self, view: str, layers: str) -> Mapping[int, torch.Tensor]:
        return mean_hidden(self.job.model, self.job.examples[view], layers, self.job.pad_id)

    def _roll_back(self, step: int, trouble: str) -> NoReturn:
        """Goes back to the newest checkpoint whose own next step was sane, and says so."""
        note = "nothing was kept, since the run has no checkpoints"
        if self.job.checkpoints is not None:
            back = checkpoint.load_newest_weights(self.job.checkpoints, self.gradients.parameters, before=max(step, 1))
            note = "no checkpoint is left to go back to" if back is None else f"the model is back at step {back}"
        raise DivergedError(
            f"The run diverged at step {step + 1}: {trouble}; {note}. "
            "Lower the learning rate, add a retain term or a stopper."
        )


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/step/{step}/{rank}".encode()).digest()[:8], "big") >> 1
