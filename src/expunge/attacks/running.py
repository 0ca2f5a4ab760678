"""Runs one attack on one model: at every point, wording or place, one number for each forget record.

Shapes: R forget records; NaN where a record has no number.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from expunge.attacks.base import Attack, AttackTask, ModelAttack, Point, ProbeAttack, PromptAttack
from expunge.data.record import Record
from expunge.data.tokenize import encode_all
from expunge.evaluation.answering import answer_needs
from expunge.evaluation.subjects import Policy
from expunge.metrics.base import Answers, Floats, Metric
from expunge.metrics.memorisation import ExactMemorisation, ExtractionStrength, Probability, Rouge
from expunge.models.load import LoadedModel

NEW_TOKENS = 64  # longest reply
BEST, MEAN = "best of all", "mean"  # over the wordings of a prompt attack
UNTOUCHED = "as it is"  # a point beside the curve: nothing was done yet
KEPT = "retain"  # detail: exact memorisation of the retain set at this point, which tells a broken model
KEPT_RECORDS = 256  # of the retain set, the first ones
Load = Callable[[], LoadedModel]
Reading = tuple[Point, Mapping[str, Floats]]  # of one fold at one point, by label


class Outcome(NamedTuple):
    """What one model shows at one point.

    Attributes:
        values: (R,) by the label of what was read, or the unit of a probe.
        at: place on the attack's axis; None where points are named.
        headline: whether it is what the attack is told by; the verdict may rest on it.
        details: further numbers.
        plain: whether it is what the model shows without the attack.
        series: which of several curves it is on; empty where there is one.
    """

    values: Mapping[str, Floats]
    at: float | None = None
    headline: bool = True
    details: Mapping[str, float] = {}
    plain: bool = False
    series: str = ""


def measures(*, spoken: bool) -> tuple[Metric, ...]:
    """What is read of the forget set; the first one decides.

    Args:
        spoken: replies only, since a filter before the judged model shows nothing else; of all models alike.
    """
    if spoken:
        return (Rouge(max_new_tokens=NEW_TOKENS),)
    return (ExtractionStrength(), Probability(), ExactMemorisation())


def plain(load: Load, task: AttackTask, found: Sequence[Metric], policy: Policy | None = None) -> dict[str, Floats]:
    """Returns what a model shows without an attack, by label."""
    return _read(load(), {"forget": task.forget}, found, task, policy)


def run_attack(
    attack: Attack, load: Load, task: AttackTask, policy: Policy | None = None, *, spoken: bool = False
) -> dict[str, Outcome]:
    """Returns what a model shows under an attack, by point.

    Args:
        attack: what to do.
        load: loads a copy of the model, which the attack may change.
        task: records and the rest.
        policy: stands before the model; for attacks on prompts only.
        spoken: whether replies are read, see ``measures``.

    Raises:
        InputError: an architecture that the attack cannot act on.
        InterruptedRunError: stopped on request.
    """
    if isinstance(attack, ModelAttack):
        return _on_model(attack, load, task)
    if isinstance(attack, PromptAttack):
        return _on_prompts(attack, load, task, policy, measures(spoken=spoken))
    if isinstance(attack, ProbeAttack):
        found = attack.probe(load(), task)
        return {
            name: Outcome(
                {attack.unit: np.asarray(values, dtype=np.float64)},
                found.at.get(name),
                name == found.best,
                found.details if name == found.best else {},
                name == found.plain,
            )
            for name, values in found.values.items()
        }
    raise TypeError(f"{type(attack).__name__} is of no kind that can be run.")


def _on_model(attack: ModelAttack, load: Load, task: AttackTask) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    for series, one in attack.series().items():
        for at, folds in sorted(_curve(one, load, task).items()):
            beside = at == 0 and not attack.from_zero
            name = ", ".join(filter(None, (UNTOUCHED if beside else f"{at:g}", series)))
            outcomes[name] = _merged(folds)._replace(
                at=None if beside else at, headline=at != 0, plain=at == 0, series=series
            )
    return outcomes


def _curve(attack: ModelAttack, load: Load, task: AttackTask) -> dict[float, list[Reading]]:
    """What was read in each fold, by place."""
    found = measures(spoken=False)
    points: dict[float, list[Reading]] = {}
    for fold in range(attack.folds):
        loaded = load()
        for point in attack.act(loaded, task, fold):
            values = _read(loaded, {"forget": task.forget}, found, task)
            task.steps.advance()
            point = point._replace(details={**point.details, **_kept(loaded, task)})
            points.setdefault(point.at, []).append((point, {name: _hidden(own, point) for name, own in values.items()}))
    return points


def _hidden(values_R: Floats, point: Point) -> Floats:
    """Numbers without those of records that the attack itself has shown."""
    own = values_R.copy()
    own[sorted(point.shown)] = np.nan
    return own


def _merged(folds: Sequence[Reading]) -> Outcome:
    """The mean over folds, of numbers and details."""
    names = {name for point, _ in folds for name in point.details}
    means = {name: np.mean([point.details[name] for point, _ in folds if name in point.details]) for name in names}
    return Outcome(
        {name: _mean(np.stack([values[name] for _, values in folds])) for name in folds[0][1]},
        details={name: float(mean) for name, mean in means.items()},
    )


def _kept(loaded: LoadedModel, task: AttackTask) -> dict[str, float]:
    kept = task.splits.get(KEPT, ())[:KEPT_RECORDS]
    if not kept:
        return {}
    (values,) = _read(loaded, {KEPT: kept}, (ExactMemorisation(split=KEPT),), task).values()
    return {KEPT: float(np.nanmean(values))}


def _on_prompts(
    attack: PromptAttack, load: Load, task: AttackTask, policy: Policy | None, found: Sequence[Metric]
) -> dict[str, Outcome]:
    loaded = load()
    read: dict[str, dict[str, Floats]] = {}
    for wording, rewritten in attack.rewrite(task).items():
        records = _fitting(rewritten, loaded, task, wording)
        asked = {place: record for place, record in enumerate(records) if record is not None}
        if asked:
            with task.steps.part(sum(one is not None for one in rewritten), wording):
                answers = _read(loaded, {"forget": list(asked.values())}, found, task, policy)
            read[wording] = {label: _scattered(values, list(asked), len(records)) for label, values in answers.items()}
    wordings = {name: Outcome(values, headline=not name.startswith(attack.apart)) for name, values in read.items()}
    alike = [values for name, values in read.items() if wordings[name].headline]
    if not alike:
        return wordings
    stacks = {one.label: np.stack([values[one.label] for values in alike]) for one in found}
    both = {
        BEST: Outcome({label: _best(stack) for label, stack in stacks.items()}, headline=False),
        MEAN: Outcome({label: _mean(stack) for label, stack in stacks.items()}),
    }
    return {**both, **wordings}


def _fitting(
    records: Sequence[Record | None], loaded: LoadedModel, task: AttackTask, wording: str
) -> list[Record | None]:
    """The records without those that a wording makes too long: more of their answers would be cut."""
    limit = loaded.limit(task.max_length)
    asked = [place for place, record in enumerate(records) if record is not None]
    lengths = _lengths([one for one in records if one is not None], loaded)
    own = _lengths(task.forget, loaded)
    long = {place for place, length in zip(asked, lengths, strict=True) if length > max(limit, own[place])}
    if long:
        task.warn(f"Asked as {wording}, {len(long)} forget records are longer than {limit} tokens and left out.")
    return [None if place in long else record for place, record in enumerate(records)]


def _lengths(records: Sequence[Record], loaded: LoadedModel) -> list[int]:
    examples = encode_all(records, loaded.tokenizer, max_length=sys.maxsize).examples
    return [len(example.input_ids) for example in examples]


def _read(
    loaded: LoadedModel,
    splits: Mapping[str, Sequence[Record]],
    found: Sequence[Metric],
    task: AttackTask,
    policy: Policy | None = None,
) -> dict[str, Floats]:
    needs = list(dict.fromkeys(need for metric in found for need in metric.needs()))
    answers = answer_needs(loaded, splits, needs, max_length=task.max_length, batch_size=task.batch_size, policy=policy)
    return {metric.label: metric.compute(Answers(answers)).samples[0].values for metric in found}


def _scattered(values: Floats, places: Sequence[int], size: int) -> Floats:
    whole = np.full(size, np.nan)
    whole[list(places)] = values
    return whole


def _mean(stack_FR: Floats) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # records without a number in any row stay NaN
        return np.asarray(np.nanmean(stack_FR, axis=0))


def _best(stack_FR: Floats) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmax(stack_FR, axis=0))


def limited(task: AttackTask, records: int) -> AttackTask:
    """Returns the task with at most so many forget records, taken from all subjects in turn."""
    if len(task.forget) <= records:
        return task
    turns: dict[object, int] = {}
    order = []
    for place, record in enumerate(task.forget):
        who = place if record.whom is None else record.whom
        turns[who] = turns.get(who, 0) + 1
        order.append((turns[who], place))
    chosen = sorted(place for _, place in sorted(order)[:records])
    return replace(task, splits={**task.splits, "forget": [task.forget[place] for place in chosen]})
