"""Other answers for the same prompts, the same for every run with the same seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from expunge.data.batch import Example
from expunge.data.record import Record


def silent(text: str) -> None:
    """Drops a warning; for callers that have nowhere to show it."""


@dataclass(frozen=True, kw_only=True)
class RelabelTask:
    """What a relabeller may work with.

    Attributes:
        model: the original, in evaluation mode; read, never changed.
        tokenizer: its tokenizer.
        records: by split, those that the relabeller's ``needs`` name among them.
        seed: of the run.
        max_length: longest record, tokens.
        warn: takes a sentence on what was not done as asked; counts only, no record text.
        said: what the model was heard to say to each record (split and index), so that a further sample of one run
            need not be drawn from the start. A cache: without it the answers are the same.
    """

    model: Any
    tokenizer: Any
    records: dict[str, Sequence[Record]]
    seed: int
    max_length: int
    warn: Callable[[str], None] = silent
    said: dict[tuple[str, int], list[str | None]] = field(default_factory=dict, repr=False)


class Relabeller:
    """Base of the relabellers; one overrides the finest of these that it can do its work in."""

    needs: ClassVar[tuple[str, ...]] = ()  # splits that must be handed in, keys of ``expunge.methods.base.NEED_FLAGS``

    def relabel(self, record: Record, *, seed: int, sample: int = 0) -> Record:
        """Returns the record with another answer; depends on seed, record and number of the sample only."""
        return record

    def relabel_all(self, records: Sequence[Record], task: RelabelTask, sample: int = 0) -> list[Record]:
        """Returns the records with other answers, in the same order."""
        return [self.relabel(record, seed=task.seed, sample=sample) for record in records]

    def relabel_tokens(self, examples: Sequence[Example], task: RelabelTask, sample: int = 0) -> list[Example]:
        """Returns the tokenised records with other labels; inputs may change too, lengths may not."""
        return list(examples)
