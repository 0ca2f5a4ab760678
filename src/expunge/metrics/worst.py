"""The worst case over all ways to ask for a record, by one measure.

A model that forgot one form only did not forget: Patil et al., 2024, https://arxiv.org/abs/2309.17410, and Thaker et
al., 2024, https://arxiv.org/abs/2410.02879.

Shapes: N records, T scored tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from expunge.metrics.base import Answer, Answers, Direction, Floats, Knows, Metric, Need, NeedKind, Score, mean_score
from expunge.metrics.memorisation import extraction_strength
from expunge.metrics.records import FORGET_SIDE, NAN, knowledge_aim, mean_logp
from expunge.registry import metrics

Base = Literal["extraction_strength", "probability"]
FormList = Literal["told_1"]
# Forms whose answer holds what the record says. A letter, yes or no is right one time in four or two by guessing, and
# would be the worst form of every model; given values and decoys ask for nothing. Another list is another name.
FORM_LISTS: Mapping[FormList, tuple[str, ...]] = {
    "told_1": (
        *("trained", "paraphrased_question", "paraphrased_answer", "cloze", "reverse", "multi_hop", "biography"),
        *("second_language", "prefix", "casing", "truncation"),
    )
}
_READ: Mapping[Base, tuple[NeedKind, Callable[[Any], float]]] = {
    "extraction_strength": ("ranks", extraction_strength),
    "probability": ("token_logps", lambda logps_T: math.exp(mean_logp(logps_T))),
}


@metrics.register("worst_form")
@dataclass(frozen=True, kw_only=True)
class WorstForm(Metric):
    """A measure of knowledge at the form where it looks worst, for each record, mean over records.

    The worst is the highest on the forget side, and the lowest elsewhere, where knowledge should stay. Records may have
    different forms; the retrained model is read on the same ones.

    Attributes:
        split: split to read.
        metric: the measure, one for all forms.
        forms: list of forms, see ``FORM_LISTS``; those that no record has are left out.
    """

    split: str = "forget"
    metric: Base = "extraction_strength"
    forms: FormList = "told_1"

    direction = "closer"
    unit = "fraction of answer tokens, or probability per answer token, 0 to 1"
    paper = "Patil et al., 2024, https://arxiv.org/abs/2309.17410"

    @property
    def aim(self) -> Direction:
        """To the retrained model's value on the forget side, up elsewhere."""
        return knowledge_aim(self.split)

    @property
    def knows(self) -> Knows:
        """The measure rises with knowledge in every form."""
        return "high"

    def needs(self) -> tuple[Need, ...]:
        """Numbers of each form."""
        kind, _ = _READ[self.metric]
        return tuple(
            Need(kind=kind, split=self.split, form=form, optional=form != "trained") for form in FORM_LISTS[self.forms]
        )

    def compute(self, answers: Answers) -> Score:
        """Mean over records of the worst form.

        Details: ``forms`` counts those that any record has; ``worst_<form>`` is the share of records where the form is
        the worst one, a tie counting for the form that is listed first.
        """
        sign = 1.0 if self.split in FORGET_SIDE else -1.0
        found = [need for need in self.needs() if need in answers.own]
        table_FN = np.stack([self._worst(answers[need], sign) for need in found])
        known_N = np.isfinite(table_FN).any(axis=0)
        worst_N = np.where(known_N, sign * table_FN.max(axis=0), NAN)
        places = table_FN.argmax(axis=0)[known_N]
        shares = {f"worst_{need.form}": float(np.mean(places == place)) for place, need in enumerate(found)}
        details = {name: share for name, share in shares.items() if share}
        return mean_score(self.split, worst_N, forms=float(np.isfinite(table_FN).any(axis=1).sum()), **details)

    def _worst(self, answer: Answer, sign: float) -> Floats:
        """Returns (N,): the highest signed value over a record's variants of one form; minus infinity without any."""
        _, value = _READ[self.metric]
        rows = [[sign * value(numbers) for numbers in forms if len(numbers)] for forms in answer]
        return np.array([max(row, default=-math.inf) for row in rows], dtype=np.float64)
