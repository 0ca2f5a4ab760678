"""Soft prompts: free embeddings, searched by gradient, that bring back what a model still holds.

Schwinn et al., 2024, Soft prompt threats: attacking safety alignment and unlearning in open-source LLMs through the
embedding space, https://arxiv.org/abs/2402.09063. The control with strings that were never seen: Chen et al., 2025,
https://arxiv.org/abs/2502.15836.

Shapes: B records, L embeddings, D width.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from expunge.attacks.base import AttackTask, Probe, Threat
from expunge.attacks.insertion import Place, Slot, find_slots, input_embedding, inserted, read_slots, strengths
from expunge.attacks.targets import SearchedPrompt, Target, aimed, never_seen, probed, subject_groups
from expunge.data.tokenize import pad_id
from expunge.errors import InputError
from expunge.metrics.base import Floats
from expunge.metrics.memorisation import ExtractionStrength
from expunge.models.load import LoadedModel
from expunge.models.modes import evaluating
from expunge.registry import attacks


class _Found(NamedTuple):
    """Embeddings (..., L, D) after each number of steps, and the mean training loss (nats per token) of each step."""

    prompts: Mapping[int, Tensor]
    losses: list[float]


@attacks.register("soft_prompt")
@dataclass(frozen=True, kw_only=True)
class SoftPrompt(SearchedPrompt):
    """Searches embeddings that make the model tell of some subjects, and asks for the others with them.

    The loss is the mean negative log-likelihood per token. A record's number is its extraction strength with the
    embeddings that were trained without its subject, so what the embeddings say by themselves does not count.

    Departures from the paper: one prompt for all records, tested on other subjects; the target is the true answer
    unless ``target`` says otherwise; extraction strength in place of a search for keywords in generated text; the place
    that decides is the last, not the best of all steps.

    Attributes:
        length: number of embeddings.
        place: before or after the question.
        start: ``mark`` for the embedding of "!", ``mean`` for the mean of all.
        optimizer: ``adam``, or ``sign`` for steps along the sign of the gradient.
        learning_rate: of each coordinate.
        steps: of the search.
        every: steps between two readings.
        batch: training records in one step.
        folds: parts of the subjects; each is tested with what was found on the rest.
        target: ``answers``, or ``affirmative`` for an agreement to tell, behind which the answer is then read.
        controls: records on which the same search is run one by one, with the true and with a wrong answer; the details
            tell how many are brought to say it word by word.
    """

    length: int = 20
    place: Place = "before"
    start: Literal["mark", "mean"] = "mark"
    optimizer: Literal["adam", "sign"] = "adam"
    learning_rate: float = 0.02
    steps: int = 60
    every: int = 30
    batch: int = 16
    folds: int = 2
    target: Target = "answers"
    controls: int = 8

    threat: ClassVar[Threat] = Threat("prompts", "weights", "Schwinn et al., 2024, https://arxiv.org/abs/2402.09063")
    title: ClassVar[str] = "soft prompt"
    axis: ClassVar[str] = "steps"
    unit: ClassVar[str] = ExtractionStrength().label
    # Section 4 and the published code: 20 embeddings at "!", 100 signed steps of 0.001, a look every 10.
    paper_budget: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sign",
        "learning_rate": 1e-3,
        "steps": 100,
        "every": 10,
    }

    def __post_init__(self) -> None:
        if min(self.length, self.steps, self.every, self.batch) < 1 or self.folds < 2 or self.controls < 0:
            raise InputError(
                "length, steps, every and batch of a soft prompt are at least 1, folds at least 2 and controls at "
                f"least 0; they are {self.length}, {self.steps}, {self.every}, {self.batch}, {self.folds} and "
                f"{self.controls}."
            )

    def count(self, task: AttackTask) -> int:
        """Steps of the searches: one for each fold, and two for the controls."""
        searches = min(self.folds, len(subject_groups(task.forget, task.seed)))
        return self.steps * (searches + (2 if self.controls and self.target == "answers" else 0))

    def probe(self, loaded: LoadedModel, task: AttackTask) -> Probe:
        """Returns the extraction strengths after each number of steps."""
        learnt = self._slots([aimed(record, self.target) for record in task.forget], loaded, task)
        read = self._slots([probed(record, self.target) for record in task.forget], loaded, task)
        groups = subject_groups(task.forget, task.seed)
        values = {done: np.full(len(task.forget), np.nan) for done in self._looks}
        losses = []
        for fold in range(min(self.folds, len(groups))):
            held = {row for group in groups[fold :: self.folds] for row in group}
            found = self._search(loaded, _batches(learnt, held, self.batch, task.seed), task)
            losses.append((found.losses[0], found.losses[-1]))
            rows = [row for row in sorted(held) if read[row] is not None]
            for done, prompt_LD in found.prompts.items():
                values[done][rows] = self._read(loaded, [read[row] for row in rows], prompt_LD, task)
        names = {done: f"step {done}" for done in self._looks}
        first, last = np.mean(losses, axis=0).tolist()
        return Probe(
            {names[done]: found_N for done, found_N in values.items()},
            names[self.steps],
            {"loss_first_step": first, "loss_last_step": last, **self._controls(loaded, groups, task)},
            {name: float(done) for done, name in names.items()},
        )

    @property
    def _looks(self) -> list[int]:
        return [*range(0, self.steps, self.every), self.steps]

    def _slots(self, records: Sequence[Any], loaded: LoadedModel, task: AttackTask) -> list[Slot | None]:
        room = [pad_id(loaded.tokenizer)] * self.length
        found = find_slots(records, loaded, place=self.place, max_length=task.max_length, room=self.length)
        return [None if slot is None else inserted(slot, room) for slot in found]

    def _read(self, loaded: LoadedModel, slots: Sequence[Slot | None], prompt: Tensor, task: AttackTask) -> Floats:
        known = [slot for slot in slots if slot is not None]
        return strengths(loaded.model, known, pad_id(loaded.tokenizer), task.batch_size, prompt)

    def _search(
        self, loaded: LoadedModel, batches: Iterator[list[Slot]], task: AttackTask, shape: tuple[int, ...] = ()
    ) -> _Found:
        """Runs the steps; ``shape`` (B,) for an embedding of its own for each record of the one batch."""
        prompt = self._begin(loaded).repeat(*shape, 1, 1).requires_grad_()
        optimizer = torch.optim.Adam([prompt], lr=self.learning_rate) if self.optimizer == "adam" else None
        kept, losses = {0: prompt.detach().clone()}, []
        with evaluating(loaded.model), torch.enable_grad():
            for done in range(1, self.steps + 1):
                task.check_stop("soft_prompt")
                losses_B = -read_slots(loaded.model, next(batches), pad_id(loaded.tokenizer), prompt).mean_logps
                # Prompts of their own must not share a gradient's scale: signs and Adam's ratios are per coordinate.
                (gradient,) = torch.autograd.grad(losses_B.sum() if shape else losses_B.mean(), [prompt])
                losses.append(float(losses_B.detach().mean()))
                self._step(prompt, gradient, optimizer)
                task.steps.advance()
                if done in self._looks:
                    kept[done] = prompt.detach().clone()
        return _Found(kept, losses)

    def _step(self, prompt: Tensor, gradient: Tensor, optimizer: torch.optim.Optimizer | None) -> None:
        if optimizer is None:
            with torch.no_grad():
                prompt -= self.learning_rate * gradient.sign()
            return
        prompt.grad = gradient
        optimizer.step()

    @torch.no_grad()
    def _begin(self, loaded: LoadedModel) -> Tensor:
        """The embeddings (L, D) that the search starts at; at least float32, since steps are small."""
        layer = input_embedding(loaded.model)
        ids = loaded.tokenizer("!", add_special_tokens=False)["input_ids"][-1:]
        if self.start == "mean" or not ids:
            ids = list(range(len(loaded.tokenizer)))
        one_D: Tensor = layer(torch.tensor(ids, device=loaded.model.device)).mean(0)
        return one_D.to(torch.promote_types(one_D.dtype, torch.float32)).repeat(self.length, 1)

    def _controls(self, loaded: LoadedModel, groups: Sequence[Sequence[int]], task: AttackTask) -> dict[str, float]:
        """Share of a few records whose true answer, and whose wrong one, is elicited by embeddings made for it."""
        rows = [group[0] for group in groups[: self.controls]]
        pairs = [
            (task.forget[row], wrong)
            for row, wrong in zip(rows, never_seen(task.forget, rows, task.seed), strict=True)
            if wrong is not None
        ]
        if self.target != "answers" or not pairs:
            return {}
        kinds = zip(("elicits_true", "elicits_never_seen"), zip(*pairs, strict=True), strict=True)
        return {name: self._elicited(loaded, records, task) for name, records in kinds}

    def _elicited(self, loaded: LoadedModel, records: Sequence[Any], task: AttackTask) -> float:
        slots = [slot for slot in self._slots(records, loaded, task) if slot is not None]
        if not slots:
            return float("nan")
        found = self._search(loaded, itertools.repeat(slots), task, (len(slots),))
        return float(np.mean(self._read(loaded, slots, found.prompts[self.steps], task) == 1.0))


def _batches(slots: Sequence[Slot | None], held: set[int], size: int, seed: int) -> Iterator[list[Slot]]:
    """Endless batches of the slots whose rows are not held out, in a new order each time round."""
    known = [slot for row, slot in enumerate(slots) if row not in held and slot is not None]
    if not known:
        raise InputError("No record of the training subjects has a question and an answer that the model can read.")
    draw = Random(f"{seed}:soft prompt")  # noqa: S311 - reproducible draws, no secrets
    while True:
        order = draw.sample(known, len(known))
        yield from (order[start : start + size] for start in range(0, len(order), size))
