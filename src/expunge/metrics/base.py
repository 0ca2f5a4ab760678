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

from expunge.data.transforms import Transform
from expunge.errors import InputError
from expunge.functional.bootstrap import mean_of as mean_of
from expunge.registry import metrics as registry

Direction = Literal["lower", "higher", "closer"]
Knows = Literal["high", "low", ""]
Evidence = Literal["knowledge", "membership", ""]
NeedKind = Literal[
    "token_logps",
    "sampled_logps",
    "moments",
    "ranks",
    "divergence",
    "grad_norm",
    "extraction_likelihood",
    "memorisation_accuracy",
    "verbatim_rouge",
    "generation_score",
    "reply_nats",
    "zlib_bytes",
    "label_place",
    "token_frequency",
    "blind_score",
    "id_mark",
]
FORWARD: tuple[NeedKind, ...] = ("token_logps", "sampled_logps", "moments", "ranks")  # one forward pass answers all
SWEEPS: tuple[NeedKind, ...] = (  # each reads every record by itself
    "grad_norm",
    "extraction_likelihood",
    "memorisation_accuracy",
    "verbatim_rouge",
)
TOKENS: tuple[NeedKind, ...] = ("token_frequency",)  # read off the token ids, without a forward pass
TEXTS: tuple[NeedKind, ...] = ("zlib_bytes", "label_place", "blind_score", "id_mark")  # read off the text
Floats = NDArray[np.float64]
# Metadata of a field that came after the first records: at its default it is no part of the label.
UNLABELLED: Mapping[str, Any] = {"labelled": "where it differs"}


class Numbers(NamedTuple):
    """Which numbers of a forward pass: their kind, and the settings that they depend on."""

    kind: NeedKind
    params: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How replies are drawn.

    Attributes:
        samples: draws for each prompt.
        temperature: divides the logits.
        top_p: share of the probability that is drawn from.
        draw_seed: of the draws.
    """

    samples: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    draw_seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.temperature <= 0 or not 0 < self.top_p <= 1:
            raise InputError(
                f"samples={self.samples}, temperature={self.temperature}, top_p={self.top_p}: draw at least once, at a "
                "temperature above 0, from a share above 0 and at most 1."
            )


_DRAWN = {item.name for item in dataclasses.fields(Sampling)}


@dataclass(frozen=True, kw_only=True)
class Need:
    """One kind of number for every record of a split, in one form.

    Attributes:
        kind: ``token_logps``: log-probability (nats) of each scored token, float64 (T,).
            ``sampled_logps``: the same under a decoding scheme, which gives what it never draws a stand-in for minus
            infinity; ``params`` has ``temperature`` and ``top_k`` (0 for all).
            ``moments``: mean and standard deviation of the log-probability over the vocabulary at each scored position,
            (T, 2).
            ``ranks``: number of vocabulary entries that the model prefers to the true token, (T,), 0 where greedy is
            right.
            ``divergence``: Kullback-Leibler divergence (nats) of the model's next-token distribution from another's at
            each scored position, KL(other || own), (T,); ``params`` has ``role``, the other model's.
            ``grad_norm``: Euclidean norm of the gradient of the mean loss by all weights, one number.
            ``extraction_likelihood``: mean overlap of greedy continuations of the whole text, from places inside it,
            with the true rest, one number or NaN; ``params`` has ``n`` and ``stride``.
            ``memorisation_accuracy``: share of the whole text's tokens that are the model's first choice, one number.
            ``verbatim_rouge``: ROUGE-L F1 of the greedy continuation of a text's start with the true one, one number or
            NaN; ``params`` has ``prefix`` and ``max_new_tokens``.
            ``generation_score``: one number, or a few, per record, from the continuation of the prompt and the true
            answer; ``params`` has ``max_new_tokens``, ``scorer`` (a function of ``expunge.functional.text``), that
            function's settings and, for sampled continuations, the fields of ``Sampling``: then there is one for each
            draw. All needs that ask alike are answered from the same replies.
            ``reply_nats``: what another model, the judge, finds of the same continuation after its prompt: negative
            log-likelihood (nats) and number of tokens, (2,); ``params`` has ``judge`` (the role, ``original``) and
            ``max_new_tokens``.
            ``zlib_bytes``: length of the zlib-compressed answer text; needs no model.
            ``label_place``: place of the answer text, from 0, in the sorted list of all right and wrong answers of the
            split; needs no model.
            ``token_frequency``: log of the smoothed share of each scored token among the scored tokens of the split
            ``corpus`` in ``params``, and 1 where the token stands for the first time in what the model reads of the
            record, else 0, (T, 2); reads the model's tokenizer.
            ``blind_score``: how much the text of a record looks like one of this split and not of the split ``beside``
            in ``params``, to a classifier that sees words and no model, and none of the record's subject, one number;
            ``params`` has its settings too. Needs no model.
            ``id_mark``: place, from 0, of the first of the marks in ``params`` that stands in the record's id, between
            dashes or at an end; NaN without. It tells what kind of record it is and needs no model.
        split: forget, retain, holdout, ...
        form: see ``expunge.data.record.FORMS``.
        params: everything else that influences the numbers, sorted by name.
        transform: what is read in place of each form of a record, if not the form itself.
        optional: the metric can do without: where the split or the form is missing, this need is left out of the
            answers and not the metric; look with ``Answers.own.get``.
        folder: a local model folder that the scorer needs; ``params`` names it by its digest, since an address means
            nothing elsewhere.
    """

    kind: NeedKind
    split: str
    form: str = "trained"
    params: tuple[tuple[str, Any], ...] = ()
    transform: Transform | None = None
    optional: bool = field(default=False, compare=False)
    folder: str = field(default="", compare=False, repr=False)

    @property
    def numbers(self) -> Numbers:
        """What of a pass answers this need."""
        return Numbers(self.kind, self.params)

    @property
    def reads_logits(self) -> bool:
        """Whether log-probabilities or token ids are needed, which a text-level policy does not show."""
        return self.paired or self.kind in (*FORWARD, *SWEEPS)

    @property
    def generates(self) -> bool:
        """Whether the model is asked to speak; a text-level policy answers too."""
        return self.kind in ("generation_score", "reply_nats")

    @property
    def drawn(self) -> bool:
        """Whether replies are sampled: other batches, devices or libraries make other draws."""
        return self.generates and not {name for name, _ in self.params}.isdisjoint(_DRAWN)

    @property
    def judged(self) -> bool:
        """Whether another model reads what this one said."""
        return self.kind == "reply_nats"

    @property
    def paired(self) -> bool:
        """Whether another model reads the same records beside this one."""
        return self.kind == "divergence"

    @property
    def second(self) -> str | None:
        """Role of the other model that the numbers depend on: a judge, or one beside this one."""
        params = dict(self.params)
        return str(params["judge"]) if self.judged else str(params["role"]) if self.paired else None

    @property
    def reads_model(self) -> bool:
        """Whether a model is needed at all."""
        return self.kind not in TEXTS

    @property
    def beside(self) -> str | None:
        """Another split whose records the numbers depend on too."""
        if self.transform is not None and self.transform.reads is not None:
            return self.transform.reads
        found = dict(self.params).get("corpus" if self.kind == "token_frequency" else "beside")
        return None if found is None else str(found)


def is_of(role: str, family: str) -> bool:
    """Whether a role is this one or a further one of its kind: ``retrained_2`` is of ``retrained``."""
    return role == family or (role.startswith(f"{family}_") and role.removeprefix(f"{family}_").isdigit())


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

    def family(self, role: str, need: Need, *, further: bool = False) -> list[Answer]:
        """Answers of all models of a role (``retrained``, ``retrained_2``, ...), without the model's own.

        With ``further`` without the first one either, which is what others are compared with.
        """
        names = [name for name in self.others if is_of(name, role) and not (further and name == role)]
        found = (self.others[name].get(need) for name in names)
        return [answer for answer in found if answer is not None and answer is not self.own.get(need)]


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
        missing: why the value is NaN, where the metric knows; a clause without a full stop.
    """

    samples: tuple[Sample, ...]
    statistic: Callable[..., float]
    details: Mapping[str, float] = {}
    missing: str = ""

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
        may_compare_to: roles whose answers it reads where they were handed in, with all further models of each role;
            look with ``Answers.maybe`` and ``Answers.family``.
        least_others: how many models of the families in ``may_compare_to`` it takes, without the model itself.
        resampled: whether a bootstrap of ``compute``'s statistic means anything; a p-value has no interval.
        unit: unit and range of the value, for reports.
        plotted: whether reports draw the numbers per record; they are kept, sorted, in the record of a run.
        paper: source.
    """

    direction: ClassVar[Direction]
    compares_to: ClassVar[tuple[str, ...]] = ()
    may_compare_to: ClassVar[tuple[str, ...]] = ()
    least_others: ClassVar[int] = 0
    resampled: ClassVar[bool] = True
    unit: ClassVar[str] = ""
    plotted: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    @property
    def label(self) -> str:
        """Recorded name: the registry name with its settings, such as ``mia_min_k(k=0.2)``."""
        told = [item for item in dataclasses.fields(self) if self._is_labelled(item)]
        settings = ", ".join(f"{item.name}={getattr(self, item.name)}" for item in told)
        name = registry.name_of(self)
        return f"{name}({settings})" if settings else name

    def _is_labelled(self, item: dataclasses.Field[Any]) -> bool:
        return "labelled" not in item.metadata or bool(getattr(self, item.name) != item.default)

    @property
    def aim(self) -> Direction:
        """Direction on the split that is read: knowledge of the forget set aims elsewhere than of the retain set."""
        return self.direction

    @property
    def knows(self) -> Knows:
        """Which value a model has that knows the forget set; empty where the value tells nothing of that."""
        return ""

    @property
    def evidence(self) -> Evidence:
        """What the verdict takes its value of the forget set for: a share of what is known, an area, or nothing."""
        return ""

    def lacks(self, others: Sequence[str]) -> str | None:
        """Returns why the other models, by role, do not suffice beyond what the class attributes say; None if so."""
        return None

    @abstractmethod
    def needs(self) -> tuple[Need, ...]:
        """Numbers that ``compute`` reads."""

    @abstractmethod
    def compute(self, answers: Answers) -> Score:
        """Returns the score of one model."""


def mean_score(split: str, values: Sequence[float] | Floats, **details: float) -> Score:
    """Returns a score whose value is the mean over records."""
    return Score((Sample(split, np.asarray(values, dtype=np.float64)),), mean_of, details)
