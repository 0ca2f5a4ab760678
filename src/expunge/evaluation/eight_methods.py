"""Suite ``eight_methods``: a row for each way to look at unlearning. Lynch et al., 2024, https://arxiv.org/abs/2402.16835.

The paper asks one model for one topic; here the rows are read on the forget set and its neighbours. Rows that take
attacks name them, and are absent until one of them was run.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from expunge.evaluation.suites import NEW_TOKENS, at_hand
from expunge.metrics.answers import OverRefusal, RefusalRate
from expunge.metrics.base import Metric
from expunge.metrics.choice import MultipleChoice
from expunge.metrics.kept import LocalityGap
from expunge.metrics.memorisation import ExactMemorisation, ExtractionStrength, Probability, Rouge
from expunge.registry import suites

NO_ATTACK = "takes an attack that was not run"
RELEARNING = ("relearn", "relearn_benign", "relearn_unrelated", "relearn_rtt")
NO_RECORDS = "no records for it were handed in"


class Row(NamedTuple):
    """One of the eight.

    Attributes:
        name: as in the paper.
        metrics: what reads it; empty where an attack has to act first.
        absent: why it cannot be read; empty where it can.
        attacks: what reads it in place of metrics; any of them does.
    """

    name: str
    metrics: tuple[Metric, ...] = ()
    absent: str = ""
    attacks: tuple[str, ...] = ()


@suites.register("eight_methods")
def eight_methods(splits: Collection[str]) -> tuple[Metric, ...]:
    """Every row that can be read: other languages, downstream tasks, the trivial baseline, side effects.

    Args:
        splits: names of the splits at hand; side effects read ``neighbours_...`` and ``world_facts``.
    """
    metrics = [metric for row in eight_rows(splits) for metric in row.metrics]
    # The verdict rests on what is asked as trained and on what is kept.
    always = (ExtractionStrength(), Probability(), ExactMemorisation(split="retain"))
    return tuple(dict.fromkeys((*at_hand(always, splits), *metrics)))


def eight_rows(splits: Collection[str]) -> tuple[Row, ...]:
    """Returns all eight rows in the paper's order; those without metrics say why."""
    near = sorted(split for split in splits if split.startswith("neighbours_"))
    return (
        _row("other languages", _asked("second_language"), splits),
        Row("jailbreak prompts", absent=NO_ATTACK, attacks=("jailbreak", "prefix")),
        Row("in-context relearning", absent=NO_ATTACK, attacks=("in_context", "in_context_text")),
        Row("relearning by fine-tuning", absent=NO_ATTACK, attacks=RELEARNING),
        _row("downstream tasks", _tasks(), splits),
        Row("latent knowledge", absent=NO_ATTACK, attacks=("linear_probe", "logit_lens")),
        _row("trivial prompting baseline", _spoken(), splits),
        _row("side effects in similar domains", (LocalityGap(), *_effects((*near, "world_facts"))), splits),
    )


def _row(name: str, metrics: tuple[Metric, ...], splits: Collection[str]) -> Row:
    found = at_hand(metrics, splits)
    return Row(name, found, "" if found else NO_RECORDS)


def _asked(form: str) -> tuple[Metric, ...]:
    return (ExtractionStrength(form=form), ExactMemorisation(form=form))


def _tasks() -> tuple[Metric, ...]:
    """The fact is needed for something else: a choice, a step on the way to another answer, a text about the person."""
    forms = ("multi_hop", "biography", "cloze", "reverse")
    return (MultipleChoice(scoring="cloze", options="rivals"), *(ExactMemorisation(form=form) for form in forms))


def _spoken() -> tuple[Metric, ...]:
    """What a filter before the original does too; its column stands beside."""
    return (
        *(Rouge(split=split, max_new_tokens=NEW_TOKENS) for split in ("forget", "retain")),
        RefusalRate(max_new_tokens=NEW_TOKENS),
        OverRefusal(max_new_tokens=NEW_TOKENS),
    )


def _effects(splits: tuple[str, ...]) -> tuple[Metric, ...]:
    return tuple(ExactMemorisation(split=split) for split in splits)
