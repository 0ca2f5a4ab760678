"""What a metric is: needs in, numbers out. A metric never sees a model.

The runner (``expunge.evaluation``) collects the needs of all metrics, answers them with one forward pass for each
model, split, form and batch, and hands the numbers to ``Metric.compute``.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from expunge.registry import metrics as registry

Direction = Literal["lower", "higher", "closer"]
NeedKind = Literal["token_logps", "moments", "ranks", "generation_score", "reply_nats", "zlib_bytes", "label_place"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Need:
    """One kind of number for every record of a split, in one form.

    Attributes:
        kind: ``token_logps``: log-probability (nats) of each scored token, float64 (T,).
            ``moments``: mean and standard deviation of the log-probability over the vocabulary at each scored position,
            (T, 2).
            ``ranks``: number of vocabulary entries that the model prefers to the true token, (T,), 0 where greedy is
            right.
            ``generation_score``: one number, or a few, per record, from the greedy continuation of the prompt and the
            true answer; ``params`` has ``max_new_tokens``, ``scorer`` (a function of ``expunge.functional.text``) and
            that function's settings. All needs of one split, form and length are answered from the same replies.
            ``reply_nats``: what another model, the judge, finds of the same continuation after its prompt: negative
            log-likelihood (nats) and number of tokens, (2,); ``params`` has ``judge`` (the role, ``original``) and
            ``max_new_tokens``.
            ``zlib_bytes``: length of the zlib-compressed answer text; needs no model.
            ``label_place``: place of the answer text, from 0, in the sorted list of all right and wrong answers of the
            split; needs no model.
        split: forget, retain, holdout, ...
        form: see ``expunge.data.record.FORMS``.
        params: everything else that influences the numbers, sorted by name.
    """

    kind: NeedKind
    split: str
    form: str = "trained"
    params: tuple[tuple[str, Any], ...] = ()

    @property
    def reads_logits(self) -> bool:
        """Whether log-probabilities are needed, which a text-level policy does not show."""
        return self.kind in ("token_logps", "moments", "ranks")

    @property
    def generates(self) -> bool:
        """Whether the model is asked to speak; a text-level policy answers too."""
        return self.kind in ("generation_score", "reply_nats")

    @property
    def judged(self) -> bool:
        """Whether another model reads what this one said."""
        return self.kind == "reply_nats"

    @property
    def reads_model(self) -> bool:
        """Whether a model is needed at all."""
        return self.kind not in ("zlib_bytes", "label_place")


# For each record of the split, one array (or number) for each of its forms: several for ``perturbed_answer``, none
# where the form is absent.
Answer = Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Answers:
    """Numbers of one model, and of the other models that a comparison declares in ``Metric.compares_to``."""

    own: Mapping[Need, Answer]
    others: Mapping[str, Mapping[Need, Answer]] = field(default_factory=dict)

    def __getitem__(self, need: Need) -> Answer:
        return self.own[need]

    def of(self, role: str) -> Mapping[Need, Answer]:
        """Numbers of another role: original, retrained, ..."""
        return self.others[role]

    def maybe(self, role: str, need: Need) -> Answer | None:
        """Answer of another role, or None where it was not handed in."""
        return self.others.get(role, {}).get(need)


class Sample(NamedTuple):
    """One number per record of a split (NaN where a record has none); subjects of that split cluster the interval."""

    split: str
    values: Floats


class Score(NamedTuple):
    """What a metric found.

    Attributes:
        samples: the per-record numbers that the value is made of.
        statistic: maps the arrays of ``samples`` (NaN removed) to the value; the bootstrap calls it again.
        details: further numbers, such as D, p and n of a test.
    """

    samples: tuple[Sample, ...]
    statistic: Callable[..., float]
    details: Mapping[str, float] = {}

    @property
    def value(self) -> float:
        """The number itself."""
        return float(self.statistic(*(sample.values[~np.isnan(sample.values)] for sample in self.samples)))


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """Base of all metrics. Fields are settings; the recorded name carries all of them.

    Class attributes:
        direction: ``lower`` or ``higher`` is better, or ``closer`` to the retrained model.
        compares_to: roles whose answers ``compute`` reads besides the model's own.
        may_compare_to: roles whose answers it reads where they were handed in; look with ``Answers.maybe``.
        resampled: whether a bootstrap of ``compute``'s statistic means anything; a p-value has no interval.
        unit: unit and range of the value, for reports.
        plotted: whether reports draw the numbers per record; they are kept, sorted, in the record of a run.
        paper: source.
    """

    direction: ClassVar[Direction]
    compares_to: ClassVar[tuple[str, ...]] = ()
    may_compare_to: ClassVar[tuple[str, ...]] = ()
    resampled: ClassVar[bool] = True
    unit: ClassVar[str] = ""
    plotted: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    @property
    def label(self) -> str:
        """Recorded name: the registry name with every setting, such as ``mia_min_k(k=0.2)``."""
        settings = ", ".join(f"{item.name}={getattr(self, item.name)}" for item in dataclasses.fields(self))
        name = registry.name_of(self)
        return f"{name}({settings})" if settings else name

    @property
    def aim(self) -> Direction:
        """Direction on the split that is read: knowledge of the forget set aims elsewhere than of the retain set."""
        return self.direction

    @abstractmethod
    def needs(self) -> tuple[Need, ...]:
        """Numbers that ``compute`` reads."""

    @abstractmethod
    def compute(self, answers: Answers) -> Score:
        """Returns the score of one model."""


def mean_score(split: str, values: Sequence[float] | Floats, **details: float) -> Score:
    """Returns a score whose value is the mean over records."""
    return Score((Sample(split, np.asarray(values, dtype=np.float64)),), mean_of, details)


def mean_of(values: Floats) -> float:
    """Mean over records; NaN of none."""
    return float(np.mean(values)) if len(values) else float("nan")
