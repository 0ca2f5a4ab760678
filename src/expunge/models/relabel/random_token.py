"""Random labels. Yao et al., 2024, "Machine Unlearning of Pre-trained LLMs", https://arxiv.org/abs/2402.15159."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace

from expunge.data.batch import Example
from expunge.errors import InputError
from expunge.models.relabel.base import Relabeller, RelabelTask
from expunge.models.relabel.draws import draws
from expunge.models.relabel.vocabulary import Vocabulary, changeable, vocabulary_of
from expunge.registry import relabellers


@relabellers.register("random_token")
@dataclass(frozen=True, kw_only=True)
class RandomToken(Relabeller):
    """Any other token in place of each scored one, inputs as they are. Yao et al., 2024, arXiv 2402.15159.

    For records of every kind. Special tokens, such as the end of a sequence, keep their label and become no label, as
    in the paper. The authors' code may draw the true token or a special one; here every label drawn is a wrong one.

    Attributes:
        share: share of the scored tokens that get another label, rounded, at least one; the others keep the true one.
    """

    share: float = 1.0

    def __post_init__(self) -> None:
        """Refuses a share that would change nothing."""
        if not 0 < self.share <= 1:
            raise InputError(f"share is above 0 and at most 1, not {self.share}.")

    def relabel_tokens(self, examples: Sequence[Example], task: RelabelTask, sample: int = 0) -> list[Example]:
        """Draws the labels of each example by seed, sample and row."""
        known = vocabulary_of(task.tokenizer, task.model)
        return [self._relabelled(example, known, task.seed, sample) for example in examples]

    def _relabelled(self, example: Example, known: Vocabulary, seed: int, sample: int) -> Example:
        source = draws("random_token", seed, sample, example.row)
        places = changeable(example, known.special)
        chosen = source.sample(places, max(1, round(self.share * len(places)))) if places else []
        labels = list(example.labels)
        for place in sorted(chosen):
            own = bisect.bisect_left(known.plain, labels[place])
            drawn = source.randrange(len(known.plain) - 1)
            labels[place] = known.plain[drawn + (drawn >= own)]  # steps over the true token
        return replace(example, labels=tuple(labels))
