"""What an attack is: it acts on a copy of the model or on the prompts, or looks inside, and tells what comes back.

Every attack also runs on the retrained model, which never saw the records: what an attack teaches or chance gives, it
gives there too. What counts is the excess (``expunge.attacks.recovery``).
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from expunge.config import build
from expunge.data.record import Record
from expunge.errors import InterruptedRunError, MissingNeedError
from expunge.metrics.base import Floats
from expunge.models.load import LoadedModel
from expunge.registry import attacks as registry
from expunge.storage.progress import UNCOUNTED, Steps

Access = Literal["prompts", "logits", "weights"]
Budget = Literal["quick", "paper"]
# What must have been tried before a removal is stated.
Family = Literal["relearning", "quantisation", "weights", "prompts", "latent", "extraction"]


class Threat(NamedTuple):
    """Who could do it.

    Attributes:
        family: kind of the attack.
        access: what the attacker has: an address that answers prompts, next-token probabilities, or the weights.
        paper: where the protocol comes from, with its address.
        splits: records that it takes besides the forget set.
        original: whether it takes the original model too.
        adapter: whether it acts on a model that is an adapter beside the original's weights, and on no other.
        policy: whether it acts on a filter before a model too; without one there is nothing to attack.
        retrained: whether it takes the retrained model too.
    """

    family: Family
    access: Access
    paper: str
    splits: tuple[str, ...] = ()
    original: bool = False
    adapter: bool = False
    policy: bool = False
    retrained: bool = False


@dataclass(frozen=True, kw_only=True)
class AttackTask:
    """What an attack works with; the same for every model that it runs on.

    Attributes:
        splits: records by split, with ``forget``; the forms they bring are theirs.
        max_length: longest record, tokens.
        seed: of every draw.
        original: loads the original model anew; None where there is none.
        batch_size: sequences in one forward pass.
        stop_requested: asked between steps, see ``check_stop``.
        warn: told of what a reader of the result should know; no record text.
        retrained: loads the retrained model anew; None where there is none.
        steps: counts what the attack does to one model, see ``Attack.count``.
    """

    splits: Mapping[str, Sequence[Record]]
    max_length: int
    seed: int = 0
    original: Callable[[], LoadedModel] | None = None
    batch_size: int = 16
    stop_requested: Callable[[], bool] = lambda: False
    warn: Callable[[str], None] = field(default=lambda text: None)
    retrained: Callable[[], LoadedModel] | None = None
    steps: Steps = UNCOUNTED

    def check_stop(self, attack: str) -> None:
        """Leaves an attack between two steps.

        Args:
            attack: its registry name.

        Raises:
            InterruptedRunError: it was asked to stop.
        """
        if self.stop_requested():
            raise InterruptedRunError(f"Stopped during the attack {attack}; the same command goes on.")

    @property
    def forget(self) -> Sequence[Record]:
        """The records to forget."""
        return self.splits["forget"]


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """Base of all attacks. Fields are settings with the values of the budget ``quick``; the label carries all of them.

    Class attributes:
        threat: who could do it.
        title: what a report calls it, a few words.
        axis: what the points of its curve count; empty where they are named.
        paper_budget: settings of the budget ``paper``, where they differ from ``quick``.
        controlled: whether it runs on the retrained model too. Where it cannot, since it undoes what that model has
            not, the control is the retrained model as it is.
        decides: whether the verdict may rest on it; others are told.
    """

    threat: ClassVar[Threat]
    title: ClassVar[str]
    axis: ClassVar[str] = ""
    paper_budget: ClassVar[Mapping[str, Any]] = {}
    controlled: ClassVar[bool] = True
    decides: ClassVar[bool] = True

    @classmethod
    def at(cls, budget: Budget, **settings: Any) -> Attack:
        """Returns the attack at a budget, with changes.

        Raises:
            InputError: a setting that it does not have, or a value that it does not take.
        """
        values = {**(cls.paper_budget if budget == "paper" else {}), **settings}
        return build(cls, values, where=f"the attack {registry.name_of(cls())!r}")

    @property
    def label(self) -> str:
        """Recorded name: the registry name with every setting, such as ``pruning(shares=(0.1, 0.3))``."""
        settings = ", ".join(f"{item.name}={getattr(self, item.name)}" for item in dataclasses.fields(self))
        name = registry.name_of(self)
        return f"{name}({settings})" if settings else name

    def check(self, task: AttackTask) -> None:
        """Refuses what could not be run, before a model is loaded.

        Raises:
            MissingNeedError: records or a model that it takes were not handed in.
        """
        for split in ("forget", *self.threat.splits):
            if not task.splits.get(split):
                raise MissingNeedError(f"The attack takes {split} records, and none were handed in; {_flag(split)}.")
        if self.threat.original and task.original is None:
            raise MissingNeedError(
                "The attack takes the original model, and none was handed in; pass --original MODEL."
            )
        if self.threat.retrained and task.retrained is None:
            raise MissingNeedError(
                "The attack takes the retrained model, and none was handed in; pass --retrained MODEL."
            )

    def count(self, task: AttackTask) -> int:
        """Returns how many steps it counts on one model with ``task.steps``, before one is loaded; at least 1.

        What an attack counts is its own: readings of the model, records, or steps of a search.
        """
        return 1


class Point(NamedTuple):
    """One state of a model under attack, to be read now.

    Attributes:
        at: place on the axis; 0 where nothing was done yet.
        shown: numbers of forget records that the attack itself has shown the model; they tell nothing at this point.
        details: further numbers, such as the share of weights whose code differs.
    """

    at: float
    shown: frozenset[int] = frozenset()
    details: Mapping[str, float] = {}


@dataclass(frozen=True, kw_only=True)
class ModelAttack(Attack):
    """Changes the weights of a copy; what decides is read again at each point.

    A record's number is the mean over those folds that did not show it.

    Class attributes:
        from_zero: whether its axis is an amount, so that the model as it is stands at 0; elsewhere, as with bits, it
            stands beside the curve.
    """

    from_zero: ClassVar[bool] = True

    @property
    def folds(self) -> int:
        """How many times it acts, each time on a fresh copy."""
        return 1

    @property
    def marks(self) -> int:
        """How many points ``act`` yields, at most."""
        return 1

    def count(self, task: AttackTask) -> int:
        """Readings of the model: all points of all folds."""
        return self.folds * self.marks

    def series(self) -> Mapping[str, ModelAttack]:
        """Returns the attacks whose curves stand beside each other, by a short public name; mostly itself alone."""
        return {"": self}

    @abstractmethod
    def act(self, loaded: LoadedModel, task: AttackTask, fold: int) -> Iterator[Point]:
        """Changes ``loaded.model`` in place, step by step; after each yield the model is read as it is then.

        All folds yield the same places. The model is in evaluation mode at each yield, without gradients and hooks.

        Args:
            loaded: a copy in the saved dtype that belongs to the attack.
            task: records and the rest.
            fold: from 0.

        Raises:
            InputError: an architecture that it cannot act on.
        """


@dataclass(frozen=True, kw_only=True)
class PromptAttack(Attack):
    """Asks otherwise: the forget records in other wordings, each with its true answer.

    Each wording and the mean over them decide. The best of them for each record is told alone: whoever does not know
    the answer cannot choose so, and replies that merely differ much score high in it.

    Class attributes:
        apart: how the names of wordings begin whose answers are easier, such as one of four letters; told, and neither
            in the mean nor in the best.
    """

    apart: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def rewrite(self, task: AttackTask) -> Mapping[str, Sequence[Record | None]]:
        """Returns for each wording, by a short public name, the forget records in their order.

        A record that cannot be asked so is None.
        """

    def count(self, task: AttackTask) -> int:
        """Records that are asked, in all wordings."""
        return max(1, sum(one is not None for records in self.rewrite(task).values() for one in records))


class Probe(NamedTuple):
    """What a look inside one model gave.

    Attributes:
        values: for each place, by a short public name, one number for each forget record, from 0 (nothing) to 1 (all of
            it is there), NaN where the record cannot be probed.
        best: the place that decides; the others are told.
        details: further numbers, such as the number of candidates or a control's accuracy.
        at: place of each name on the axis, where there is one.
        plain: the place that is what the model itself says, without a look inside; empty where there is none.
    """

    values: Mapping[str, Floats]
    best: str
    details: Mapping[str, float] = {}
    at: Mapping[str, float] = {}
    plain: str = ""


@dataclass(frozen=True, kw_only=True)
class ProbeAttack(Attack):
    """Looks inside or searches, and mostly has a measure of its own; the original is probed too then.

    Class attributes:
        unit: what its numbers are, for reports; the label of a metric where they are that metric's under other prompts,
            and then the original need not be probed.
    """

    unit: ClassVar[str]

    def count(self, task: AttackTask) -> int:
        """Records that are looked at."""
        return len(task.forget)

    @abstractmethod
    def probe(self, loaded: LoadedModel, task: AttackTask) -> Probe:
        """Returns what one model shows; ``loaded`` is a copy that belongs to the attack and is thrown away after it.

        Raises:
            InputError: an architecture that it cannot look into.
        """


def _flag(split: str) -> str:
    own = ("retain", "holdout")
    return f"pass --{split} FILE" if split in own else f"pass --split {split}=FILE"
