"""Another value in place of the true one: the fact of somebody else.

The idea is that of counter-examples and of synthetic entities, none of one paper; values are found by rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from expunge.data.forms.value import value_spans
from expunge.data.record import Record
from expunge.errors import InputError
from expunge.functional.words import folded
from expunge.models.relabel.base import Relabeller, RelabelTask
from expunge.models.relabel.draws import listed
from expunge.models.relabel.values import Values, values_of
from expunge.registry import relabellers


@relabellers.register("entity_swap")
@dataclass(frozen=True, kw_only=True)
class EntitySwap(Relabeller):
    """The record's value swapped for another record's of the same shape, or for a made-up one of the same format.

    For records of every kind; of plain text every value that stands out is swapped. Values of the retain set come
    first, where one is handed in.
    """

    def relabel_all(self, records: Sequence[Record], task: RelabelTask, sample: int = 0) -> list[Record]:
        """Swaps every value.

        Raises:
            InputError: records in which nothing is taken for a value, by number.
        """
        values = values_of(records, task)
        found = [swapped(record, values, sample) for record in records]
        lost = [record for record, other in zip(records, found, strict=True) if other is None]
        if lost:
            raise InputError(
                f"{len(lost)} of {len(records)} records have nothing that a rule takes for a value to be swapped "
                f"(records {listed(lost)}); choose another relabeller, such as random_answer, or leave them out."
            )
        return [other for other in found if other is not None]


def swapped(record: Record, values: Values, sample: int) -> Record | None:
    """Returns the record with another value; None where it has none."""
    text = values.swapped(record, value_spans(record, values.common), sample)
    if text is None or folded(text) == folded(record.answer.reveal()):
        return None
    return record.with_answer(text)
