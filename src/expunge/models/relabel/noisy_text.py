"""Words of other records among those of the answer: noise in the text itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from expunge.data.forms.words import Word, scan
from expunge.data.record import Record
from expunge.errors import InputError
from expunge.functional.words import folded
from expunge.models.relabel.base import Relabeller, RelabelTask
from expunge.models.relabel.draws import draws
from expunge.models.relabel.values import rewritten
from expunge.registry import relabellers


@relabellers.register("noisy_text")
@dataclass(frozen=True, kw_only=True)
class NoisyText(Relabeller):
    """Random words of the retain answers in place of a share of the answer's own.

    For records of every kind. Words are those of any script; a Chinese or Japanese character is a word of its own.

    Attributes:
        share: share of the words of each answer that are replaced, rounded, at least one.
    """

    needs: ClassVar[tuple[str, ...]] = ("retain",)

    share: float = 0.5

    def __post_init__(self) -> None:
        """Refuses a share that would change nothing."""
        if not 0 < self.share <= 1:
            raise InputError(f"share is above 0 and at most 1, not {self.share}.")

    def relabel_all(self, records: Sequence[Record], task: RelabelTask, sample: int = 0) -> list[Record]:
        """Draws places and words by seed, sample and number of the record.

        Raises:
            InputError: a retain set without another word.
        """
        # As often as they occur, so that common words are drawn often.
        found = [word.text for record in task.records["retain"] for word in scan(record.answer.reveal())]
        if len(set(map(folded, found))) < 2:
            raise InputError("The retain answers have fewer than two words, so none can be replaced by another.")
        return [self._noisy(record, found, task.seed, sample) for record in records]

    def _noisy(self, record: Record, found: Sequence[str], seed: int, sample: int) -> Record:
        source, answer = draws("noisy_text", seed, sample, record.index), record.answer.reveal()
        words = scan(answer) or [Word(0, len(answer), answer)]  # signs alone are one word
        chosen = sorted(source.sample(range(len(words)), max(1, round(self.share * len(words)))))

        def other(own: str) -> str:
            drawn = source.choice(found)
            while folded(drawn) == folded(own):
                drawn = source.choice(found)
            return drawn

        spans = [slice(words[place].start, words[place].stop) for place in chosen]
        return record.with_answer(rewritten(answer, spans, other) or answer)
