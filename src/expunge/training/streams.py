"""Effective batches of all views, cut into micro-batches for each rank, with the totals that normalise every term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from expunge.data.batch import Batch, Example, collate
from expunge.errors import InputError
from expunge.methods.base import ViewSpec
from expunge.methods.terms import Reduction, weights
from expunge.training.order import drawn_before, rows_between, steps_per_epoch

Totals = Mapping[tuple[str, Reduction], float]
REDUCTIONS: tuple[Reduction, ...] = ("token", "sequence")


class StepData(NamedTuple):
    """What one optimizer step reads on one rank; ``totals`` are those of the whole effective batch."""

    micro_batches: list[dict[str, Batch]]
    totals: Totals


@dataclass(frozen=True, kw_only=True)
class Streams:
    """All views of a run.

    Views of one source share their rows, in order (a relabelled answer stands beside the true one); those of other
    sources than the first view's run through their own permutations, as many records a step as the first view. Records
    of weight 0 keep their place in the order and are left out of the batch: a retrained model sees the others exactly
    when the original did.

    Attributes:
        specs: the views; the first one sets the steps.
        examples: tokenised records of each view.
        batch_size: records of the first view in an effective batch.
        micro_batch: records in one forward pass.
        seed: of the order.
        pad_id: token that fills up.
    """

    specs: tuple[ViewSpec, ...]
    examples: Mapping[str, Sequence[Example]]
    batch_size: int
    micro_batch: int
    seed: int
    pad_id: int

    def __post_init__(self) -> None:
        """Refuses an empty view and pairs of unequal length."""
        for spec in self.specs:
            if not self._weighted(spec.name):
                raise InputError(
                    f"The view {spec.name!r} has no record with a weight above 0; hand in some that count."
                )
            first = next(other.name for other in self.specs if other.source == spec.source)
            if len(self.examples[spec.name]) != len(self.examples[first]):
                raise InputError(f"The view {spec.name!r} must have one record for each record of {first!r}.")

    @property
    def main(self) -> ViewSpec:
        """The view that sets the steps."""
        return self.specs[0]

    @property
    def size(self) -> int:
        """Number of records of the first view."""
        return len(self.examples[self.main.name])

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the first view."""
        return steps_per_epoch(self.size, self.batch_size)

    def rows(self, step: int) -> dict[str, list[int]]:
        """Returns the records of each view in one effective batch."""
        start, stop = (drawn_before(self.size, self.batch_size, number) for number in (step, step + 1))
        found = {}
        for spec in self.specs:
            # The stream is named by its source, so that paired views draw the same rows.
            if spec.source == self.main.source:
                rows = rows_between(self.size, start, stop, self.seed, spec.source)
                found[spec.name] = [row for row in rows if self.examples[self.main.name][row].weight > 0]
            else:  # a partner of weight 0 would leave the term without a record: the stream holds the others only
                known = self._weighted(next(other.name for other in self.specs if other.source == spec.source))
                rows = rows_between(len(known), start, stop, self.seed, spec.source)
                found[spec.name] = [known[row] for row in rows]
        return found

    def _weighted(self, name: str) -> list[int]:
        return [row for row, example in enumerate(self.examples[name]) if example.weight > 0]

    def step_data(self, step: int, *, rank: int = 0, ranks: int = 1) -> StepData:
        """Returns this rank's micro-batches of one effective batch; empty when every record has weight 0.

        All ranks get the same number of micro-batches; one that only fills up has records of weight 0.
        """
        views = {name: self._pick(name, rows) for name, rows in self.rows(step).items()}
        if not views[self.main.name]:
            return StepData([], {})
        pieces = max(-(-len(examples) // self.micro_batch) for examples in views.values())
        pieces = -(-pieces // ranks) * ranks
        cut = {name: _cut(examples, pieces) for name, examples in views.items()}
        micro_batches = [
            {name: collate(cut[name][piece], self.pad_id) for name in cut} for piece in range(rank, pieces, ranks)
        ]
        whole = {name: collate(examples, self.pad_id) for name, examples in views.items()}
        totals: dict[tuple[str, Reduction], float] = {
            (name, reduction): float(weights(batch, reduction).sum())
            for name, batch in whole.items()
            for reduction in REDUCTIONS
        }
        return StepData(micro_batches, totals)

    def _pick(self, name: str, rows: list[int]) -> list[Example]:
        """Sorts by length, so that micro-batches hold little padding; views of one source follow the first of them."""
        source = next(spec.source for spec in self.specs if spec.name == name)
        lead = self.examples[next(spec.name for spec in self.specs if spec.source == source)]
        return [self.examples[name][row] for row in sorted(rows, key=lambda row: (len(lead[row].input_ids), row))]


def _cut(examples: list[Example], pieces: int) -> list[list[Example]]:
    """Cuts into contiguous pieces of nearly equal size; a piece without a record gets one of weight 0."""
    bounds = [round(piece * len(examples) / pieces) for piece in range(pieces + 1)]
    cut = [examples[low:high] for low, high in zip(bounds, bounds[1:], strict=False)]
    return [piece or [replace(examples[0], weight=0.0)] for piece in cut]
