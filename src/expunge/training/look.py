"""What a stopper may know of the model while it changes: read when asked, on whole sets of records.

Everything is read in evaluation mode, without gradients and without a draw; mode and random state stay as they were.
Every process of a launch reads the same records with the same weights, and all take the mean of what they found, so
that all decide alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from expunge.data.batch import Example
from expunge.errors import DivergedError, InputError
from expunge.evaluation.continuing import extraction_likelihoods, memorisation_accuracies, whole_text
from expunge.evaluation.forward import read_examples
from expunge.metrics.base import Numbers
from expunge.models.load import LoadedModel
from expunge.training.distributed import is_sharded

BATCH = 16  # sequences in one pass
LOGPS, RANKS = Numbers("token_logps"), Numbers("ranks")


class Ends(NamedTuple):
    """What generation and batches want of a tokenizer; the loop has only this of it."""

    eos_token_id: int | None
    pad_token_id: int


@dataclass(frozen=True, kw_only=True)
class Look:
    """The state of a run after an optimizer step, or before the first one.

    Attributes:
        step: optimizer steps done.
        steps_per_epoch: optimizer steps in one pass over the first view.
        model: the model as it is now.
        records: tokenised records by name; those of weight 0 are left out.
        ends: end and padding token.
        agree: makes one number of what the processes of a launch found.
    """

    step: int
    steps_per_epoch: int
    model: Any
    records: Mapping[str, Sequence[Example]]
    ends: Ends
    agree: Callable[[float], float] = float

    @property
    def epoch_ends(self) -> bool:
        """Whether the step was the last one of an epoch; before the first step there is nothing that could end."""
        return self.step > 0 and self.step % self.steps_per_epoch == 0

    def due(self, every: int | None) -> bool:
        """Whether it is time: every so many steps, or at the end of an epoch for None."""
        return self.epoch_ends if every is None else self.step > 0 and self.step % every == 0

    def memorisation_accuracy(self, view: str) -> float:
        """MA of Jang et al.: share of a text's tokens but the first that are the model's first choice, 0 to 1.

        Mean over records, from one forward pass over the whole text, the prompt included and the end token not.

        Raises:
            InputError: no text has a second token, or the records are not there.
        """
        examples = self._examples(view)
        self._check_numbers(examples, view)
        values = memorisation_accuracies(self._loaded(), examples, batch_size=BATCH)
        return self._mean(values, f"No text of {view!r} has two tokens, so nothing of it could be memorised.")

    def extraction_likelihood(self, view: str, n: int, stride: int = 1) -> float:
        """EL_n of Jang et al.: share of n-grams of greedy continuations that the true rest holds, 0 to 1.

        Mean over the records that have more than n tokens; ``too_short`` counts the others.

        Args:
            view: name of the records.
            n: tokens of an n-gram.
            stride: distance of the places that a text is continued from; 1 for all of them, as in the paper.

        Raises:
            InputError: no text is that long, or the records are not there.
        """
        examples = self._examples(view)
        self._check_numbers(examples, view)
        values = extraction_likelihoods(self._loaded(), examples, batch_size=BATCH, n=n, stride=stride)
        return self._mean(
            values,
            f"All {len(examples)} texts of {view!r} have at most n={n} tokens, so EL_{n} is undefined; lower n.",
        )

    def too_short(self, view: str, n: int) -> int:
        """Number of records that EL_n leaves out, since their text has at most n tokens."""
        return sum(len(whole_text(example)) <= n for example in self._examples(view))

    def nll(self, view: str, records: int | None = None) -> float:
        """Negative log-likelihood of the scored tokens of the (first so many) records, nats per token."""
        logps = self._numbers(LOGPS, view, records)
        return self.agree(-sum(logps) / len(logps))

    def perplexity(self, view: str, records: int | None = None) -> float:
        """``exp(nll)``; infinity where no float holds it."""
        nll = self.nll(view, records)
        return math.exp(nll) if nll < 700 else math.inf

    def token_accuracy(self, view: str, records: int | None = None) -> float:
        """Share of the scored tokens of the (first so many) records that are the model's first choice, 0 to 1."""
        ranks = self._numbers(RANKS, view, records)
        return self.agree(sum(rank == 0 for rank in ranks) / len(ranks))

    def _numbers(self, kind: Numbers, view: str, records: int | None) -> list[float]:
        """One number for each scored token; log-probabilities are always read, and refused where they are none."""
        examples = [example for example in self._examples(view)[:records] if example.scored]
        if not examples:
            raise InputError(f"No token of {view!r} is scored, so nothing of it can be read.")
        found = read_examples(self._loaded(), examples, [LOGPS, kind], batch_size=BATCH, where=view)
        return [float(value) for array in found[kind] for value in array]

    def _check_numbers(self, examples: Sequence[Example], view: str) -> None:
        """Refuses a broken model: it is never right, and would pass for one that has forgotten."""
        scored = [example for example in examples if example.scored]
        read_examples(self._loaded(), scored, [LOGPS], batch_size=BATCH, where=view)

    def _examples(self, view: str) -> list[Example]:
        if view not in self.records:
            raise InputError(
                f"The stopper reads the records {view!r}, which this run does not have; hand them in or choose another "
                "stopper."
            )
        found = [example for example in self.records[view] if example.weight > 0]
        if not found:
            raise InputError(f"The stopper reads the records {view!r}, and none has a weight above 0.")
        return found

    def _loaded(self) -> LoadedModel:
        if is_sharded(self.model):
            raise InputError(
                "This stopper reads the model, which FSDP spreads over processes; launch with DDP, or choose the "
                "stopper none or term_threshold."
            )
        return LoadedModel(self.model, self.ends, "the model in training")

    def _mean(self, values: Sequence[float], undefined: str) -> float:
        known = [value for value in values if not math.isnan(value)]
        if not known:
            raise InputError(undefined)
        mean = self.agree(sum(known) / len(known))
        if not math.isfinite(mean):
            raise DivergedError(f"What the stopper read of the model is {mean}.")
        return mean
