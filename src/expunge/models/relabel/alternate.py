"""What the model itself would say instead. Mekala et al. (AltPO), 2024, https://arxiv.org/abs/2409.13474."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from expunge.data.forms.value import value_of
from expunge.data.record import Record
from expunge.data.tokenize import prompt_ids
from expunge.errors import InputError, UnfitModelError
from expunge.functional.answers import contains
from expunge.functional.rouge import rouge_l
from expunge.functional.words import folded
from expunge.models.generate import sampled
from expunge.models.relabel.base import Relabeller, RelabelTask
from expunge.models.relabel.counterfactual import counterfactuals
from expunge.models.relabel.draws import answered, draw_seed, refuse_text
from expunge.models.relabel.values import values_of
from expunge.registry import relabellers

SEEDS = 2**31  # what a generator of random numbers takes
NEXT_TURN = "\nQuestion:"  # a model that goes on after its answer asks itself the next question


@relabellers.register("alternate")
@dataclass(frozen=True, kw_only=True)
class Alternate(Relabeller):
    """Plausible but other answers, drawn from the original itself. Mekala et al. (AltPO), 2024, arXiv 2409.13474.

    For questions, prompts and conversations; plain text is refused. The paper asks with an instruction for another
    answer; here the record's own prompt is asked, at a rising temperature. What holds the true value is no other
    answer, in whatever wording. A record to which the model says nothing else within ``tries`` draws gets a
    ``counterfactual``, which is warned of. Draws are made for all records at once,
    so they depend on the set of records too.

    Attributes:
        temperature: of the first draw.
        rise: added to the temperature for each further draw.
        recall: answers that hold more than this share of the words of the true one (ROUGE-L recall) are dropped.
        tries: draws for each answer.
        new_tokens: longest answer.
    """

    temperature: float = 1.0
    rise: float = 0.25
    recall: float = 0.5
    tries: int = 4
    new_tokens: int = 64

    def __post_init__(self) -> None:
        """Refuses settings that cannot be meant."""
        if self.temperature <= 0 or self.rise < 0:
            raise InputError("temperature is above 0 and rise at least 0.")
        if not 0 <= self.recall <= 1:
            raise InputError(f"recall is a share between 0 and 1, not {self.recall}.")
        if self.tries < 1 or self.new_tokens < 1:
            raise InputError("tries and new_tokens are at least 1.")

    def relabel_all(self, records: Sequence[Record], task: RelabelTask, sample: int = 0) -> list[Record]:
        """Draws an answer that none of the samples before has.

        Raises:
            InputError: plain text.
            UnfitModelError: the model says nothing else to a record that has no counterfactual either.
        """
        refuse_text(records, "alternate")
        said = [task.said.setdefault((record.split, record.index), []) for record in records]
        common = values_of(records, task).common
        for number in range(sample + 1):
            behind = [place for place, texts in enumerate(said) if len(texts) <= number]
            self._draw([records[place] for place in behind], [said[place] for place in behind], task, number, common)
        others = [texts[sample] for texts in said]
        silent = [record for record, text in zip(records, others, strict=True) if text is None]
        if silent:
            task.warn(
                f"To {len(silent)} of {len(records)} records the model says nothing else within {self.tries} draws "
                f"(answer {sample}); their other answers are made by rule."
            )
        made = iter(_by_rule(silent, records, task, sample) if silent else ())
        return [
            next(made) if text is None else answered(record, text) for record, text in zip(records, others, strict=True)
        ]

    def _draw(
        self,
        records: Sequence[Record],
        said: Sequence[list[str | None]],
        task: RelabelTask,
        sample: int,
        common: Collection[str],
    ) -> None:
        """Adds one answer of the model to what it said to each record; None where it never says another one."""
        prompts = [prompt_ids(record, task.tokenizer, max_length=task.max_length) for record in records]
        waiting = [place for place, prompt in enumerate(prompts) if 0 < len(prompt) < task.max_length]
        for attempt in range(self.tries):
            if not waiting:
                break
            room = task.max_length - max(len(prompts[place]) for place in waiting)
            drawn = sampled(
                task.model,
                task.tokenizer,
                [prompts[place] for place in waiting],
                max_new_tokens=min(self.new_tokens, room),
                seed=draw_seed("alternate", task.seed, sample, attempt) % SEEDS,
                temperature=self.temperature + attempt * self.rise,
                top_p=1.0,
            )
            left = []
            for place, tokens in zip(waiting, drawn, strict=True):
                text = _told(task.tokenizer.decode(tokens, skip_special_tokens=True))
                if self._is_other(text, records[place], said[place], common):
                    said[place].append(text)
                else:
                    left.append(place)
            waiting = left
        for texts in said:
            if len(texts) <= sample:
                texts.append(None)

    def _is_other(self, text: str, record: Record, said: Sequence[str | None], common: Collection[str]) -> bool:
        truth, value = record.answer.reveal(), value_of(record, common)
        if value is not None and contains(text, value):
            return False
        known = {folded(truth), *(folded(earlier) for earlier in said if earlier is not None)}
        return bool(text) and folded(text) not in known and rouge_l(text, truth).recall <= self.recall


def _by_rule(silent: Sequence[Record], records: Sequence[Record], task: RelabelTask, sample: int) -> list[Record]:
    try:
        return counterfactuals(silent, records, task, sample)
    except InputError as error:
        raise UnfitModelError(f"The model says nothing else, and there is no rule: {error}") from None


def _told(text: str) -> str:
    return text.partition(NEXT_TURN)[0].strip()
