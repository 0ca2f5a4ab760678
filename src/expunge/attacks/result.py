"""What an attack found on all models, as plain values: a file of a run, a part of its record, rows of its report."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from expunge.attacks.base import Access, Budget, Family
from expunge.attacks.curves import savings, steps_to_recover
from expunge.attacks.recovery import MIN_SUBJECTS, Excess, Numbers, excess, least, over_all
from expunge.attacks.running import Outcome
from expunge.functional.bootstrap import bootstrap_interval, mean_of
from expunge.metrics.base import Floats, is_of

VERSION = 2  # of the layout
ORIGINAL, RETRAINED = "original", "retrained"


@dataclass(frozen=True, kw_only=True)
class Value:
    """Mean of one model, with its 95 % interval by subject; no bounds with fewer than 10 subjects."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measure at one point.

    Attributes:
        point: the point's name.
        at: its place on the attack's axis.
        measure: what was read.
        headline: whether a report tells the attack by it.
        decides: whether the verdict may rest on it.
        values: by role, under the attack.
        plain: whether it is what the models show without the attack.
        series: which of several curves it is on; empty where there is one.
        rho: the excess recovery over the retrained model; None where there is none.
        reason: why there is none.
        details: further numbers by role.
    """

    point: str
    at: float | None
    measure: str
    headline: bool
    decides: bool
    values: Mapping[str, Value]
    rho: Excess | None
    reason: str = ""
    plain: bool = False
    series: str = ""
    details: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """Everything about one attack.

    Attributes:
        name: registry name.
        label: with every setting.
        title: what a report calls it.
        family: its kind.
        access: what the attacker has.
        paper: source.
        axis: what the points count; empty where they are named.
        budget: quick or paper.
        settings: all of them.
        role: the model that is judged.
        seed: of every draw.
        records: forget records that were read.
        seconds: by role.
        before: by role and measure, without the attack.
        start: the excess of the measure that decides, without the attack; None where there is none.
        rows: what was found; empty where the attack could not be run.
        half_way: of relearning, by role, the step at which the model is half of the way from the retrained model to the
            original, without the attack; None where it never is.
        savings: how many times these steps the retrained model takes; None where that cannot be said.
        changed: names of the settings that are not those of the budget.
        omitted: why it could not be run.
        key: digests of everything that decides the numbers.
    """

    name: str
    label: str
    title: str
    family: Family
    access: Access
    paper: str
    axis: str
    budget: Budget
    settings: Mapping[str, Any]
    role: str
    seed: int
    records: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    before: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    start: Excess | None = None
    rows: tuple[Row, ...] = ()
    half_way: Mapping[str, float | None] = field(default_factory=dict)
    savings: float | None = None
    changed: tuple[str, ...] = ()
    omitted: str = ""
    key: Mapping[str, Any] = field(default_factory=dict)
    version: int = VERSION

    @property
    def worst(self) -> Row | None:
        """The headline with the largest recovery; None where none has one."""
        told = [row for row in self.rows if row.headline and row.rho is not None]
        return max(told, key=lambda row: row.rho.value if row.rho else 0.0, default=None)


def mean_value(values_R: Floats, subjects: Sequence[Hashable]) -> Value:
    """Returns the mean over the records that have a number, with its interval."""
    kept = np.flatnonzero(~np.isnan(values_R)).tolist()
    if not kept:
        return Value(value=float("nan"), low=None, high=None)
    names = [subjects[place] for place in kept]
    value = float(np.mean(values_R[kept]))
    if len(set(names)) < MIN_SUBJECTS:
        return Value(value=value, low=None, high=None)
    low, high = bootstrap_interval([values_R[kept]], mean_of, clusters=[names])
    return Value(value=value, low=low, high=high)


def excess_before(
    before: Mapping[str, Mapping[str, Floats]], subjects: Sequence[Hashable], role: str, measure: str
) -> Excess | None:
    """Returns what the judged model holds beyond the retrained one without any attack."""
    found = [
        excess(Numbers(before[role][measure], known[measure], before[ORIGINAL][measure], known[measure]), subjects)
        for name, known in before.items()
        if is_of(name, RETRAINED) and ORIGINAL in before and role in before
    ]
    told = over_all(found)
    return told if isinstance(told, Excess) else None


def build_rows(
    attacked: Mapping[str, Mapping[str, Outcome]],
    before: Mapping[str, Mapping[str, Floats]],
    subjects: Sequence[Hashable],
    role: str,
    decisive: str,
    *,
    decides: bool = True,
) -> tuple[Row, ...]:
    """Returns one row for each point and measure.

    Args:
        attacked: outcomes by role and point.
        before: (R,) by role and measure, without the attack; where it lacks a measure, what a probe finds on the
            original and on the retrained model stands for what they know.
        subjects: whom each record is about, (R,).
        role: the model that is judged.
        decisive: the measure that the verdict may rest on.
        decides: whether it may rest on this attack.
    """
    rows = []
    for point, outcome in attacked[role].items():
        for measure in outcome.values:
            present = {name: found[point] for name, found in attacked.items() if point in found}
            rho = _rho(present, before, measure, subjects, role)
            rows.append(
                Row(
                    point=point,
                    at=outcome.at,
                    measure=measure,
                    headline=outcome.headline and measure == decisive,
                    decides=decides and outcome.headline and measure == decisive,
                    values={name: mean_value(one.values[measure], subjects) for name, one in present.items()},
                    rho=rho if isinstance(rho, Excess) else None,
                    reason="" if isinstance(rho, Excess) else rho,
                    plain=outcome.plain,
                    series=outcome.series,
                    details={name: dict(one.details) for name, one in present.items() if one.details},
                )
            )
    return tuple(rows)


def half_way(rows: Sequence[Row], before: Mapping[str, Mapping[str, Value]]) -> dict[str, float | None]:
    """Returns for each model the place at which its curve is half of the way from retrained to original model.

    Of several curves it is the one on which most comes back, for all models.
    """
    headlines = [row for row in rows if row.headline and row.at is not None]
    if not headlines:
        return {}
    worst = max(headlines, key=lambda row: row.rho.value if row.rho else -math.inf)
    curve = [row for row in rows if row.measure == worst.measure and row.series == worst.series and row.at is not None]
    # The attack's own first point is over the records that it does not show.
    started = next((row.values[RETRAINED] for row in curve if row.plain and RETRAINED in row.values), None)
    goal = (before[ORIGINAL][worst.measure].value + (started or before[RETRAINED][worst.measure]).value) / 2
    found: dict[str, float | None] = {}
    for role in worst.values:
        at = steps_to_recover({row.at or 0.0: row.values[role].value for row in curve if role in row.values}, goal)
        found[role] = None if math.isnan(at) else at
    return found


def saved_steps(found: Mapping[str, float | None], role: str) -> float | None:
    """Returns how many times the model's steps the retrained one takes; None where it never gets there, or at once."""
    own, retrained = found.get(role), found.get(RETRAINED)
    if own is None or RETRAINED not in found:
        return None
    times = savings(math.nan if retrained is None else retrained, own)
    return times if math.isfinite(times) else None


def _rho(
    present: Mapping[str, Outcome],
    before: Mapping[str, Mapping[str, Floats]],
    measure: str,
    subjects: Sequence[Hashable],
    role: str,
) -> Excess | str:
    """The least excess over every retrained model, under the attack and as it is.

    An attack may break a model that never saw the records; what is above the broken one alone was not brought back.
    """
    own, original = present[role].values[measure], _known(present, before, ORIGINAL, measure)
    if original is None:
        return "There is no original model."
    found: list[Excess | str] = []
    for reference in (name for name in {**before, **present} if is_of(name, RETRAINED)):
        retrained = _known(present, before, reference, measure)
        plain = before.get(reference, {}).get(measure)
        under = present[reference].values[measure] if reference in present else None
        controls = [control for control in (under, plain) if control is not None]
        if retrained is not None and controls:
            excesses = [excess(Numbers(own, control, original, retrained), subjects) for control in controls]
            found.append(least(excesses))
    return over_all(found)


def _known(
    present: Mapping[str, Outcome], before: Mapping[str, Mapping[str, Floats]], role: str, measure: str
) -> Floats | None:
    own = before.get(role, {})
    if measure in own:
        return own[measure]
    return present[role].values[measure] if role in present else None
