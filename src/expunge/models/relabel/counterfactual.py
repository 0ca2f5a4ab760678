"""A wrong answer of the same form: the record's own, or one made by rule.

Counter-examples in the manner of Eldan and Russinovich, 2023, https://arxiv.org/abs/2310.02238, and of the perturbed
answers of Maini et al. (TOFU), 2024, https://arxiv.org/abs/2401.06121.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from expunge.data.record import Record
from expunge.errors import InputError
from expunge.models.relabel.base import Relabeller, RelabelTask
from expunge.models.relabel.draws import answered, distinct, draws, listed, pick
from expunge.models.relabel.entity_swap import swapped
from expunge.models.relabel.values import values_of
from expunge.registry import relabellers


@relabellers.register("counterfactual")
@dataclass(frozen=True, kw_only=True)
class Counterfactual(Relabeller):
    """A wrong answer of the same form: one of the record's perturbed answers, or the true one with another value.

    For records of every kind. Where a record has neither, it gets the answer of another record, which is warned of;
    plain text does not, and is refused.
    """

    def relabel_all(self, records: Sequence[Record], task: RelabelTask, sample: int = 0) -> list[Record]:
        """Takes another perturbed answer, or another value, for each sample until there are no more.

        Raises:
            InputError: records to which no wrong answer could be found, by number.
        """
        return counterfactuals(records, records, task, sample)


def counterfactuals(some: Sequence[Record], records: Sequence[Record], task: RelabelTask, sample: int) -> list[Record]:
    """Returns counterfactuals of some of the records; the values of all are looked at.

    Raises:
        InputError: as for ``Counterfactual.relabel_all``.
    """
    # Another forget record's answer would be learnt by the exchange; one of the retain set is known and may stay so.
    options = [
        distinct([record.answer.reveal() for record in source if _asks(record)])
        for source in (task.records.get("retain", ()), records)
    ]
    values = values_of(records, task)
    found = [_own(record, task.seed, sample) or swapped(record, values, sample) for record in some]
    without = [place for place, other in enumerate(found) if other is None and _asks(some[place])]
    for place in without:
        found[place] = _borrowed(some[place], options, task.seed, sample)
    lost = [record for record, other in zip(some, found, strict=True) if other is None]
    if lost:
        raise InputError(
            f"{len(lost)} of {len(some)} records have neither perturbed answers nor anything that a rule takes "
            f"for a value (records {listed(lost)}); hand in perturbed_answer with them, or leave them out."
        )
    if without:
        task.warn(f"{len(without)} of {len(some)} records have no value to be exchanged and got another's answer.")
    return [other for other in found if other is not None]


def _own(record: Record, seed: int, sample: int) -> Record | None:
    options = distinct([answer.reveal() for answer in record.perturbed_answers])
    answer = pick(options, sample, draws("counterfactual", seed, record.index), but=record.answer.reveal())
    return None if answer is None else answered(record, answer)


def _borrowed(record: Record, options: Sequence[dict[str, str]], seed: int, sample: int) -> Record | None:
    for answers in options:
        source = draws("counterfactual/other", seed, record.index)
        answer = pick(answers, sample, source, but=record.answer.reveal())
        if answer is not None:
            return answered(record, answer)
    return None


def _asks(record: Record) -> bool:
    return record.kind != "text"
