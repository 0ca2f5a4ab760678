"""Whom an evaluation looks at: models on disk, loaded only if an answer is missing, and models that are only asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Protocol

from expunge.data.record import Message
from expunge.models.load import LoadedModel
from expunge.models.stopping import stop_between_passes

Continue = Callable[[Sequence[tuple[int, str]]], list[str]]
Access = Literal["weights", "prompts"]


class Policy(Protocol):
    """Stands between user and model and sees text only."""

    def generate(self, prompts: Sequence[str], answer: Continue) -> list[str]:
        """Answers prompts; ``answer`` takes (number of the prompt, text) and gives the bare model's continuations."""


class Decoding(NamedTuple):
    """How a reply is made: greedily, or drawn where there is a seed."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


class Service(Protocol):
    """A model that answers and shows nothing else: no weights, no tokens, no log-probabilities."""

    def begin(self, prompts: int, answered: int) -> None:
        """Is called once, before the first prompt, with how many will be sent and how many were answered earlier."""

    def reply(self, conversations: Sequence[Sequence[Message]], decoding: Decoding) -> list[str]:
        """Answers conversations, each of which ends with a turn of the user."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model, a model behind a policy, or a model behind an address.

    Attributes:
        role: original, retrained, unlearned, policy, ...
        identity: everything that decides its answers: weights digest, adapter, policy, attack lineage, dtype, template.
        load: loads it; not called at all if every answer is stored, and twice only where two models read side by side.
            None where there is nothing to load, but a service.
        policy: text-level policy in front of it.
        service: what is asked in place of a model that can be loaded.
        access: what may be read of it; through prompts only what it says.
        scored: whether it has a column; others are only read for comparison.
    """

    role: str
    identity: Mapping[str, str]
    load: Callable[[], LoadedModel] | None
    policy: Policy | None = field(default=None)
    service: Service | None = field(default=None)
    access: Access = "weights"
    scored: bool = True

    def loaded(self) -> LoadedModel:
        """Loads the model."""
        if self.load is None:
            raise TypeError(f"The {self.role} model has no weights that could be loaded.")
        return self.load()

    def stopping(self, stop_requested: Callable[[], bool]) -> Subject:
        """Returns the subject; its model, once loaded, stops between two forward passes if asked to.

        Raises:
            InterruptedRunError: at the next forward pass after the request.
        """
        if self.load is None:
            return self

        def load() -> LoadedModel:
            loaded = self.loaded()
            stop_between_passes(loaded.model, stop_requested)
            return loaded

        return replace(self, load=load)
