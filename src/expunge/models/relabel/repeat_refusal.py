"""A short refusal over and over in place of the answer's labels. Singh et al., 2025, https://arxiv.org/abs/2509.02820."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle

from expunge.data.batch import IGNORE, Example
from expunge.errors import InputError
from expunge.models.relabel.base import Relabeller, RelabelTask
from expunge.registry import relabellers


@relabellers.register("repeat_refusal")
@dataclass(frozen=True, kw_only=True)
class RepeatRefusal(Relabeller):
    """The tokens of a refusal, repeated over the answer's positions. Singh et al. (JensUn), 2025.

    https://arxiv.org/abs/2509.02820. The inputs stay the true answer: after each of its beginnings the refusal's next
    token is wanted.
    """

    text: str = "No idea"

    def __post_init__(self) -> None:
        """Refuses an empty refusal."""
        if not self.text:
            raise InputError("The relabeller repeat_refusal needs a text, such as 'No idea'.")

    def relabel_tokens(self, examples: Sequence[Example], task: RelabelTask, sample: int = 0) -> list[Example]:
        """Puts the refusal's tokens, in turn, where a token is scored; the end token's place is one of them.

        Raises:
            InputError: the tokenizer makes no token of the text.
        """
        refusal = [int(token) for token in task.tokenizer(self.text, add_special_tokens=False)["input_ids"]]
        if not refusal:
            raise InputError("The tokenizer makes no token of the relabeller's text; choose another one.")
        return [replace(example, labels=_repeated(example.labels, refusal)) for example in examples]


def _repeated(labels: tuple[int, ...], refusal: list[int]) -> tuple[int, ...]:
    """Starts at the second token: nothing predicts the first, so it takes none of the refusal's."""
    tokens = cycle(refusal)
    return labels[:1] + tuple(label if label == IGNORE else next(tokens) for label in labels[1:])
