"""What a method is: what it needs, what it promises, and one of four kinds.

A method never imports the training loop and never loads a model: what it needs is declared and handed in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor

from expunge.data.batch import Batch
from expunge.data.record import Record
from expunge.errors import MissingNeedError
from expunge.methods.terms import Term

Guarantee = Literal["exact", "certified", "approximate", "behavioural"]
Access = Literal["weights", "logits", "text"]
Artefact = Literal["weights", "delta", "adapter", "ensemble", "policy", "new model"]
State = Mapping[str, Tensor]

NEED_FLAGS = {
    "forget": "--forget FILE or --benchmark NAME",
    "retain": "--retain FILE or --benchmark NAME",
    "holdout": "--holdout FILE, records of the same kind that no model has seen",
    "general": "--split general=FILE, text of any other kind",
    "steer": "--split steer=FILE, prompts that the model declines or knows nothing about",
    "base": "--base MODEL, the model as it was before it saw the records",
}


@dataclass(frozen=True, kw_only=True)
class ViewSpec:
    """A named stream of records that a method reads.

    Attributes:
        name: how the method calls it.
        source: the records it is drawn from.
        relabel: whether the relabeller of the run rewrites the answers; rows stay those of ``source``, in the same
            order.
        sample: which of several answers of the relabeller, from 0.
        reference: what is read from the reference model on this view: ``token_logps``, ``logits``, ``hidden``.
        hidden: layers whose outputs are read, as for ``expunge.models.modules.resolve_layers``; None for none.
        logits: whether the output layer is read. Where it is not, layers above the last one named do not run.
    """

    name: str
    source: str = "forget"
    relabel: bool = False
    sample: int = 0
    reference: frozenset[str] = frozenset()
    hidden: str | None = None
    logits: bool = True


FORGET = ViewSpec(name="forget")


@dataclass(frozen=True, kw_only=True)
class HelperSpec:
    """Another trained model that a method needs. Its weights hold forget data, so it lives and dies with the run.

    Attributes:
        name: how the method calls it.
        trained_on: source of the records it is fine-tuned on, starting from the original model.
        epochs: passes over them.
        learning_rate: of AdamW.
    """

    name: str
    trained_on: str
    epochs: float
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a method declares about itself; what is left out is that of a loss that trains all weights.

    Attributes:
        paper: authors, year, link.
        guarantee: strongest claim that the method can make.
        access: what of the model it must see.
        artefact: what comes out.
        reversible: whether taking the artefact off restores the knowledge.
        memory_factor: peak memory in copies of the weights, of a method that is no loss; that of a loss follows from
            its axes, see ``Recipe.memory_factor``.
        needs: what must be handed in; keys of ``NEED_FLAGS``.
    """

    paper: str
    guarantee: Guarantee = "approximate"
    access: Access = "weights"
    artefact: Artefact = "weights"
    reversible: bool = False
    memory_factor: float = 4.0  # weights, gradients, two moments
    needs: tuple[str, ...] = ("forget",)


class ReadingLike(Protocol):
    """Readings of a model on one batch; see ``expunge.models.reading``."""

    @property
    def token_logps(self) -> Tensor: ...  # noqa: D102
    @property
    def sequence_logps(self) -> Tensor: ...  # noqa: D102
    @property
    def mean_logps(self) -> Tensor: ...  # noqa: D102
    @property
    def logits(self) -> Tensor: ...  # noqa: D102
    @property
    def labels(self) -> Tensor: ...  # noqa: D102
    @property
    def hidden_states(self) -> Mapping[int, Tensor]: ...  # noqa: D102


@dataclass(frozen=True)
class View:
    """One batch of a stream, read by the model that changes (``policy``) and by the original (``reference``)."""

    batch: Batch
    policy: ReadingLike
    reference_reading: ReadingLike | None = None

    @property
    def reference(self) -> ReadingLike:
        """Reading of the original model; only where the view's ``ViewSpec`` declares one."""
        if self.reference_reading is None:
            raise MissingNeedError("This view declares no reference; add one to its ViewSpec.")
        return self.reference_reading


Views = Mapping[str, View]


class Start(NamedTuple):
    """What a method may make its state from.

    Attributes:
        hidden_size: width of the hidden states.
        records: number of records of each view.
        seed: of the run.
        mean_hidden: view and layers to the mean output of each layer (D,) before any step, over the tokens before the
            first scored one (the prompt), or over all where every token is scored.
    """

    hidden_size: int
    records: Mapping[str, int]
    seed: int
    mean_hidden: Callable[[str, str], Mapping[int, Tensor]]


class Method(ABC):
    """Base of all methods; a frozen dataclass whose fields are the settings."""

    spec: ClassVar[Spec]
    takes: ClassVar[frozenset[str] | None] = None  # axes and numbers of the loop that it uses; None for all of them

    def missing(self, available: frozenset[str]) -> list[str]:
        """Names of declared needs that were not handed in."""
        return [need for need in self.needs() if need not in available]

    def needs(self) -> tuple[str, ...]:
        """What must be handed in; settings may add to the spec's."""
        return self.spec.needs


class LossMethod(Method):
    """A method that is a loss: terms from views.

    Class attributes:
        monotone: whether the value of the forget term falls as the model forgets. A term whose weights fade with what
            they weigh goes back to 0, and only its gradient says that it is minimised.
        own_retain: whether the method brings terms of the retain side itself.
    """

    monotone: ClassVar[bool] = True
    own_retain: ClassVar[bool] = False

    def views(self) -> tuple[ViewSpec, ...]:
        """Streams the terms read; the first one sets the number of steps."""
        return (FORGET,)

    def init(self, start: Start) -> State:
        """State at the first step: tensors that are checkpointed with the run."""
        return {}

    def term_weights(self) -> Mapping[str, float]:
        """Weight of each term beside ``forget`` and ``retain``, which are axes; those not named have ``forget``'s.

        Terms are of the forget side, unless their names begin with ``retain_``; see ``expunge.methods.terms.holds``.
        """
        return {}

    @property
    def scale(self) -> float:
        """Largest slope of the forget term in the log-probabilities, for the guard: 1 where it is nats."""
        return 1.0

    def scales(self) -> Mapping[str, float]:
        """Units in one nat of each term that is not in nats, for the guard; infinity where any finite value is sane."""
        return {"forget": self.scale}

    @abstractmethod
    def forget_term(self, views: Views, state: State) -> Term:
        """The term that makes the model forget."""

    def terms(self, views: Views, state: State) -> dict[str, Term]:
        """All terms by name; the retain term is an axis and is added outside."""
        return {"forget": self.forget_term(views, state)}


@dataclass(frozen=True, kw_only=True)
class EditTask:
    """What an edit works with.

    Attributes:
        helpers: the helper models' weights by name.
        forget: the records.
        fisher: split and number of records to the Fisher information of each weight, by name.
        seed: of the run.
    """

    helpers: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    forget: tuple[Record, ...] = ()
    fisher: Callable[[str, int], Mapping[str, Tensor]] = lambda split, records: {}
    seed: int = 0


class EditMethod(Method):
    """A method that rewrites weights without a training loop of its own."""

    takes = frozenset({"seed", "batch_size"})  # of the helper models it may have trained

    def helpers(self) -> tuple[HelperSpec, ...]:
        """Models to be trained for the method before it starts."""
        return ()

    @abstractmethod
    def edit(self, model: Any, task: EditTask) -> None:
        """Changes ``model`` (a transformers causal language model) in place."""


class ExactMethod(Method):
    """A method whose result never depended on the forget set; it runs the training itself."""

    @abstractmethod
    def fit(self, task: Any) -> Any:
        """Trains on everything but the forget set; see ``expunge.exact``."""


@dataclass(frozen=True, kw_only=True)
class WrapTask:
    """What a policy is made from.

    Attributes:
        forget: records that are not to be told.
        retain: records that stay allowed.
        secret: key of the digests that the policy keeps of them.
    """

    forget: tuple[Record, ...]
    retain: tuple[Record, ...]
    secret: bytes


class InferenceMethod(Method):
    """A method that leaves the weights alone and wraps what the model reads and says."""

    takes = frozenset({"seed"})

    @abstractmethod
    def wrap(self, model: Any, task: WrapTask) -> Any:
        """Returns the policy: an object that generates text and saves itself without any record text.

        ``model`` may be read, and stays as it is.
        """
