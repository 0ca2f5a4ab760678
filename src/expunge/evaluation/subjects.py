"""Whom an evaluation looks at: models on disk, loaded only if an answer is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from expunge.models.load import LoadedModel

Continue = Callable[[Sequence[tuple[int, str]]], list[str]]


class Policy(Protocol):
    """Stands between user and model and sees text only."""

    def generate(self, prompts: Sequence[str], answer: Continue) -> list[str]:
        """Answers prompts; ``answer`` takes (number of the prompt, text) and gives the bare model's continuations."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model, or a model behind a policy.

    Attributes:
        role: original, retrained, unlearned, policy, ...
        identity: everything that decides its answers: weights digest, adapter, policy, attack lineage, dtype, template.
        load: loads it; not called at all if every answer is stored, and twice only where two models read side by side.
        policy: text-level policy in front of it.
        scored: whether it has a column; others are only read for comparison.
    """

    role: str
    identity: Mapping[str, str]
    load: Callable[[], LoadedModel]
    policy: Policy | None = field(default=None)
    scored: bool = True
