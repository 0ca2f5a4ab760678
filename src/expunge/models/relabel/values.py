"""Other values of the same shape: those of other records, or made up in the same format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from expunge.data.forms.decoy import LIKE, Other, decoys, other_of
from expunge.data.forms.shapes import segments, skeleton
from expunge.data.forms.value import COMMON_ANSWERS, common_words, question_of, value_of
from expunge.data.record import Record
from expunge.functional.words import folded
from expunge.models.relabel.base import RelabelTask
from expunge.models.relabel.draws import distinct, draw_seed, draws, pick

DECOYS = 64  # made for a value of which no other record has the shape; further samples begin again

Pool = dict[tuple[str, ...], list[Other]]  # values by their shape


@dataclass(frozen=True, kw_only=True)
class Values:
    """What the values of a set can be exchanged for.

    Attributes:
        common: keys of words that many answers of the set have.
        pools: where to look for another value, in this order.
        seed: of the run.
    """

    common: frozenset[str]
    pools: tuple[Pool, ...]
    seed: int

    def swapped(self, record: Record, spans: Sequence[slice], sample: int) -> str | None:
        """Returns the answer with another value at each place, the same for the same value; None without any."""
        made: dict[str, str | None] = {}

        def other(value: str) -> str | None:
            if value not in made:
                made[value] = self.other(record, value, sample)
            return made[value]

        return rewritten(record.answer.reveal(), spans, other)

    def other(self, record: Record, value: str, sample: int) -> str | None:
        """Returns another value of the same shape, for each sample another one until there are no more.

        Values that answer a like question come first: an author's name is no town, whatever their shape. Where no
        other record has a value of the shape, one of the same format is made up.
        """
        shape, alone = skeleton(segments(value)), _alone(record, value)
        asked = other_of(alone, self.common)
        for pool in self.pools:
            alike = pool.get(shape, [])
            close = [one for one in alike if asked is not None and _is_like(one, asked)]
            for options in (close, alike):
                source = draws(f"entity_swap/{folded(value)}", self.seed, record.index)
                found = pick(distinct([one.value for one in options]), sample, source, but=value)
                if found is not None:
                    return found
        return self._made_up(alone, value, sample)

    def _made_up(self, alone: Record, value: str, sample: int) -> str | None:
        inner = value_of(alone, self.common)
        if inner is None:
            return None
        seed = draw_seed("entity_swap/decoy", self.seed, alone.index)
        made = decoys(alone, DECOYS, seed, common=self.common).values
        texts = [text.reveal() for text in made if folded(text.reveal()) != folded(inner)]
        return value.replace(inner, texts[sample % len(texts)], 1) if texts else None


def values_of(records: Sequence[Record], task: RelabelTask) -> Values:
    """Reads the values of a set, and of the retain set where there is one: these are exchanged for first.

    A value of another forget record would be learnt by the exchange; one of the retain set is known and may stay so.
    """
    kept = task.records.get("retain", ())
    # A few answers do not show what belongs to their wording; those of the retain set are like them.
    common = common_words(records if len(records) >= COMMON_ANSWERS else (*records, *kept))
    pools = (_pool(kept, common_words(kept)), _pool(records, common))
    return Values(common=common, pools=pools, seed=task.seed)


def rewritten(answer: str, spans: Sequence[slice], other: Callable[[str], str | None]) -> str | None:
    """Returns the answer with other text at each place; None where there are no places or no other text for one."""
    parts, done = [], 0
    for span in spans:
        text = other(answer[span])
        if text is None:
            return None
        parts += [answer[done : span.start], text]
        done = span.stop
    return "".join((*parts, answer[done:])) if spans else None


def _pool(records: Sequence[Record], common: frozenset[str]) -> Pool:
    pool: Pool = {}
    for record in records:
        found = other_of(record, common)
        if found is not None:
            pool.setdefault(skeleton(segments(found.value)), []).append(found)
    return pool


def _alone(record: Record, value: str) -> Record:
    """The value as an answer by itself, to the same question."""
    asked = question_of(record) or ""
    plain = replace(record, kind="qa", messages=(), tools=None, given=None, perturbed_answers=(), variants={})
    return replace(plain, prompt=record.answer.relabel(asked), answer=record.answer.relabel(value))


def _is_like(one: Other, other: Other) -> bool:
    return len(one.asked & other.asked) >= LIKE * len(one.asked | other.asked)
