"""The answer to another question. Yao et al. (LLMU), 2023, https://arxiv.org/abs/2310.10683."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from expunge.data.record import Record
from expunge.errors import InputError
from expunge.models.relabel.base import Relabeller, RelabelTask
from expunge.models.relabel.draws import answered, distinct, draws, pick, refuse_text
from expunge.registry import relabellers


@relabellers.register("random_answer")
@dataclass(frozen=True, kw_only=True)
class RandomAnswer(Relabeller):
    """The answer of another record of the retain set. Yao et al. (LLMU), 2023, https://arxiv.org/abs/2310.10683.

    For questions, prompts and conversations; plain text is refused, and no plain text of the retain set is taken for
    an answer.
    """

    needs: ClassVar[tuple[str, ...]] = ("retain",)

    def relabel_all(self, records: Sequence[Record], task: RelabelTask, sample: int = 0) -> list[Record]:
        """Draws an answer for each record, another one for each sample until the retain set has no more.

        Raises:
            InputError: plain text, or a retain set without another answer.
        """
        refuse_text(records, "random_answer")
        kept = [record.answer.reveal() for record in task.records["retain"] if record.kind != "text"]
        options = distinct(kept)
        return [self._other(record, options, task.seed, sample) for record in records]

    def _other(self, record: Record, options: dict[str, str], seed: int, sample: int) -> Record:
        source = draws("random_answer", seed, record.index)
        found = pick(options, sample, source, but=record.answer.reveal())
        if found is None:
            raise InputError(
                f"The retain set has no answer that record {record.index} could get in place of its own; hand in "
                "questions with other answers with --retain, or choose another relabeller."
            )
        return answered(record, found)
