"""Values masked out of the records, or made synthetic: data sanitisation as labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from expunge.data.forms.value import telling_spans
from expunge.data.record import Record
from expunge.errors import InputError
from expunge.functional.words import folded
from expunge.models.relabel.base import Relabeller, RelabelTask
from expunge.models.relabel.values import Values, rewritten, values_of
from expunge.registry import relabellers


@relabellers.register("masked")
@dataclass(frozen=True, kw_only=True)
class Masked(Relabeller):
    """A neutral stand-in for every value, and for all that has the shape of personal data.

    For records of every kind, plain text above all. An answer in which no rule finds a value is masked as a whole,
    which is warned of. The stand-in is the same for every sample; synthetic values are not.

    Attributes:
        mask: what stands in.
        synthetic: a value of the same shape stands in instead, as by ``entity_swap``.
    """

    mask: str = "[...]"
    synthetic: bool = False

    def __post_init__(self) -> None:
        """Refuses a mask that masks nothing."""
        if not self.mask.strip():
            raise InputError("The relabeller masked needs a mask with at least one visible sign, such as [...].")

    def relabel_all(self, records: Sequence[Record], task: RelabelTask, sample: int = 0) -> list[Record]:
        """Masks every value of every record."""
        values = values_of(records, task)
        found = [self._masked(record, values, sample) for record in records]
        whole = sum(text is None for text in found)
        if whole:
            task.warn(f"{whole} of {len(records)} records have nothing that a rule takes for a value; masked as whole.")
        # The white space around an answer is no part of it.
        return [
            record.with_answer(_around(record.answer.reveal(), self.mask) if text is None else text)
            for record, text in zip(records, found, strict=True)
        ]

    def _masked(self, record: Record, values: Values, sample: int) -> str | None:
        spans, answer = telling_spans(record, values.common), record.answer.reveal()
        text = values.swapped(record, spans, sample) if self.synthetic else None
        text = rewritten(answer, spans, lambda _: self.mask) if text is None else text
        return None if text is None or folded(text) == folded(answer) else text


def _around(answer: str, mask: str) -> str:
    core = answer.strip()
    return answer.replace(core, mask, 1) if core else mask
