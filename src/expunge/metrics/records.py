"""From answers to one number per record. Shapes: N records, F forms of one record, T scored tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from expunge.data.record import FORMS
from expunge.errors import InputError
from expunge.metrics.base import Answer, Answers, Direction, Floats, Need
from expunge.registry import suggest

NAN = float("nan")
FORGET_SIDE = ("forget", "holdout")  # splits the retrained model has not seen


def per_record(answer: Answer, value: Callable[[Any], float]) -> Floats:
    """Returns (N,): ``value`` of each record's numbers, averaged over its forms; NaN where a record has no form."""
    return np.array([known_mean([value(numbers) for numbers in forms]) for forms in answer], dtype=np.float64)


def known_mean(values: Sequence[float] | Floats) -> float:
    """Returns the mean of the values that are known; NaN where all are NaN or there are none."""
    given = np.asarray(values, dtype=np.float64)
    known = given[~np.isnan(given)]
    return float(np.mean(known)) if len(known) else NAN


def mean_logp(logps_T: Floats) -> float:
    """Returns the mean log-probability of the scored tokens, nats per token; NaN without any (answer cut off)."""
    return float(np.mean(logps_T)) if len(logps_T) else NAN


def first_form(answer: Answer) -> Floats:
    """Returns (N,): the mean log-probability, nats per token, of a form that occurs once a record; NaN where absent."""
    return per_record(answer, mean_logp)


def all_forms(answer: Answer) -> list[Floats]:
    """Returns for each record the mean log-probabilities (F,), nats per token, of its forms with scored tokens."""
    return [np.array([mean_logp(logps_T) for logps_T in forms if len(logps_T)], dtype=np.float64) for forms in answer]


def decoy_needs(split: str) -> tuple[Need, Need, Need]:
    """Log-probabilities of the whole true answer, of the decoys, and of the value alone, for ``truths``."""
    value = Need(kind="token_logps", split=split, form="value", optional=True)
    return Need(kind="token_logps", split=split), Need(kind="token_logps", split=split, form="decoy"), value


def truths(answers: Answers, trained: Need, value: Need) -> list[Sequence[Floats]]:
    """Returns for each record the log-probabilities (T,) of the truth in the shape of the record's decoys.

    Decoys by rule replace the value alone, after the words before it, and no end is scored; such a record has the form
    ``value``. Decoys of a user's own are whole answers, next to which the record itself counts.
    """
    values = answers.own.get(value) or [()] * len(answers[trained])
    return [one or whole for one, whole in zip(values, answers[trained], strict=True)]


def check_form(form: str, allowed: Collection[str] = FORMS) -> None:
    """Refuses a form that this metric cannot read.

    Raises:
        InputError: ``form`` is not among ``allowed``.
    """
    if form not in allowed:
        raise InputError(f"form={form!r} cannot be scored here.{suggest(form, allowed)}")


def knowledge_aim(split: str) -> Direction:
    """Returns where a measure of knowledge should go: to the retrained model's value on the forget side, else up."""
    return "closer" if split in FORGET_SIDE else "higher"
