"""What a recipe is run with: a loaded model, records, and where things go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from expunge.data.batch import Example
from expunge.data.record import Record
from expunge.data.tokenize import Mask, encode_all, pad_id
from expunge.methods.base import ViewSpec
from expunge.methods.recipe import Recipe
from expunge.models.reading import example_logps
from expunge.models.relabel import Relabeller, RelabelTask
from expunge.models.tokens.base import TokenChoice, TokenTask
from expunge.registry import relabellers, token_choices
from expunge.storage.run import RunFolder
from expunge.training.loop import StepReport


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a recipe is run with.

    Attributes:
        recipe: the method with its axes and numbers.
        model: the model to change (for exact methods, the base model), float32.
        build: makes another model like it, for the weights of one that was spread over processes.
        tokenizer: its tokenizer.
        splits: records by split.
        run: where checkpoints, helper models and events go.
        max_length: longest record, tokens.
        stop_requested: asked after every step.
        checkpoints: where this stage keeps them.
        secret: key for what a policy keeps of the records.
    """

    recipe: Recipe
    model: Any
    build: Callable[[], Any]
    tokenizer: Any
    splits: Mapping[str, Sequence[Record]]
    run: RunFolder
    max_length: int
    stop_requested: Callable[[], bool]
    secret: bytes
    checkpoints: Path

    def encoded(self, split: str) -> list[Example]:
        """Tokenised records of a split."""
        return self._encoded(list(self.splits[split]), split, "answer")

    def viewed(self, spec: ViewSpec, *, main: bool) -> list[Example]:
        """Tokenised records of a view, with the relabeller's answers and the token choice where they apply.

        Args:
            spec: the view.
            main: whether its records are those of the method's first view, to which the token choice applies.
        """
        choice: TokenChoice = self.recipe.axes.tokens.create(token_choices)
        chosen = main and (choice.relabelled or not spec.relabel)
        records = list(self.splits[spec.source])
        relabeller: Relabeller = self.recipe.axes.relabel.create(relabellers)
        if spec.relabel:
            records = relabeller.relabel_all(records, self.relabel_task, spec.sample)
        examples = self._encoded(records, spec.source, choice.mask if chosen else "answer")
        if spec.relabel:
            examples = relabeller.relabel_tokens(examples, self.relabel_task, spec.sample)
        return choice.choose(examples, self._token_task(records)) if chosen else examples

    @cached_property
    def relabel_task(self) -> RelabelTask:
        """What the relabeller works with, one for the run: a further sample knows the ones before."""
        return RelabelTask(
            model=self.model,
            tokenizer=self.tokenizer,
            records=dict(self.splits),
            seed=self.recipe.training.seed,
            max_length=self.max_length,
            warn=self.warn,
        )

    def warn(self, text: str, *, limit: bool = False) -> None:
        """Writes a warning into the event log; a limit goes into every record of the run too."""
        self.run.events.append("warning", text=text, **({"limit": True} if limit else {}))

    def _token_task(self, records: list[Record]) -> TokenTask:
        def logps(examples: Sequence[Example]) -> list[torch.Tensor]:
            return example_logps(self.model, examples, pad_id(self.tokenizer))

        return TokenTask(records=records, tokenizer=self.tokenizer, logps=logps, warn=self.warn)

    def _encoded(self, records: list[Record], split: str, mask: Mask) -> list[Example]:
        encoded = encode_all(records, self.tokenizer, max_length=self.max_length, mask=mask)
        if encoded.truncated:
            self.run.events.append(
                "warning",
                text=f"{len(encoded.truncated)} of {len(records)} {split} records were cut to {self.max_length} tokens",
            )
        return encoded.examples

    def log_micro_batch(self, step: int, size: int) -> None:
        """Writes into the event log that memory made the micro-batch smaller, from a step on."""
        self.run.events.append("micro_batch", step=step, size=size)

    def log_step(self, report: StepReport) -> None:
        """Writes one optimizer step into the event log."""
        self.run.events.append(
            "metric",
            step=report.step,
            steps=report.steps,
            terms=report.terms,
            grad_norm=report.grad_norm,
            learning_rate=report.learning_rate,
        )
