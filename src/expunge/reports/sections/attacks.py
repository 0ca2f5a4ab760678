"""Does the forgetting hold: what each attack brings back beyond the retrained model, and the curves on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from expunge.reports.charts import Curve, Dot, Row, dot_chart, xy_chart
from expunge.reports.reading import ORIGINAL, RETRAINED, Reading, Value, value_of
from expunge.reports.sections.figure import Figure, figures
from expunge.reports.svg import Axis, number, place_of
from expunge.reports.words import model, scored, sentence

FAMILIES = ("relearning", "quantisation", "weights", "prompts", "extraction", "latent")  # in the order of a report
# What an attacker has to have, as a report says it.
ACCESS = {"prompts": "prompts", "logits": "token probabilities", "weights": "weights"}


class AttackRow(NamedTuple):
    """One attack: where it brings back most, what the models show there, and the recovery.

    Attributes:
        title: in words, with the settings that are not those of the budget.
        access: what it takes.
        cost: the budget, and the seconds that it took on the judged model.
        point: where it brings back most; empty where nothing can be told.
        place: the same in few letters.
        measure: what was read there.
        original: without the attack, or, for a probe, under it.
        retrained: under the attack.
        own: the judged model under the attack.
        rho: recovery.
        reason: why there is no recovery.
    """

    title: str
    access: str
    cost: str
    point: str
    place: str
    measure: str
    original: Value
    retrained: Value
    own: Value
    rho: Value
    reason: str


def rows(reading: Reading) -> list[AttackRow]:
    """Returns a row for each attack that was run, by family and name."""
    return [_row(found) for found in _ordered(reading.record.attacks) if not found["omitted"]]


def omitted(reading: Reading) -> list[tuple[str, str]]:
    """Returns the attacks that could not be run, and why."""
    found = [one for one in _ordered(reading.record.attacks) if one["omitted"]]
    return [(title_of(one), one["omitted"]) for one in found]


def lines(record: Mapping[str, Any]) -> list[str]:
    """Returns the table for a terminal, one line for each attack."""
    found = [_row(one) for one in _ordered(record.get("attacks", ())) if not one["omitted"]]
    if not found:
        return []
    head = f"{'attack':<44}{'takes':<21}{'cost':<15}{'at':<18}{'retrained':>9}{'own':>9}  recovery"
    return ["", head, *(_line(row) for row in found)]


def _line(row: AttackRow) -> str:
    rho = row.reason or _with_interval(row.rho)
    own, control = (number(value.value) if value.known else "-" for value in (row.own, row.retrained))
    return f"{row.title[:43]:<44}{row.access:<21}{row.cost:<15}{row.place:<18}{control:>9}{own:>9}  {rho}"


def _with_interval(value: Value) -> str:
    if value.low is None or value.high is None:
        return number(value.value)
    return f"{number(value.value)} ({number(value.low)} to {number(value.high)})"


def _ordered(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(found, key=lambda one: (FAMILIES.index(one["family"]), one["name"]))


def headlines(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the rows that an attack is told by."""
    return [row for row in found["rows"] if row["headline"]]


def worst_row(found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Returns the headline with the largest recovery, or else the first; None without any."""
    told = [row for row in headlines(found) if row["rho"] is not None]
    return max(told, key=lambda row: row["rho"]["value"], default=next(iter(headlines(found)), None))


def _row(found: Mapping[str, Any]) -> AttackRow:
    row = worst_row(found)
    shared = (title_of(found), ACCESS[found["access"]], _cost(found))
    if row is None:
        nothing, reason = Value(float("nan")), found["omitted"] or "nothing was read"
        return AttackRow(*shared, "", "", "", nothing, nothing, nothing, nothing, reason)
    before = found["before"].get(ORIGINAL, {})
    original = value_of(before.get(row["measure"]) or row["values"].get(ORIGINAL))
    return AttackRow(
        *shared,
        point_of(found, row),
        row["point"],
        sentence(scored(row["measure"])),
        original,
        value_of(row["values"].get(RETRAINED)),
        value_of(row["values"].get(found["role"])),
        value_of(row["rho"]),
        row["reason"],
    )


def _cost(found: Mapping[str, Any]) -> str:
    seconds = found["seconds"].get(found["role"])
    return found["budget"] if seconds is None else f"{found['budget']}, {number(seconds)} s"


def title_of(found: Mapping[str, Any]) -> str:
    """What a reader calls it: two ways to run one attack have two names."""
    settings = found["settings"]
    changed = [f"{name} {_said(settings[name])}" if name in settings else name for name in found["changed"]]
    changed += [f"seed {found['seed']}"] if found["seed"] else []
    return sentence(f"{found['title']} ({', '.join(changed)})" if changed else found["title"])


def _said(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(_said(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def point_of(found: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Where on its curve, in words: ``20 (optimizer steps)``, or the name of a wording."""
    point: str = row["point"]
    if not found["axis"] or row["at"] is None or not point.startswith(f"{row['at']:g}"):
        return point
    return ", ".join(filter(None, (f"{row['at']:g} ({found['axis']})", row["series"])))


def chart(reading: Reading) -> list[Figure]:
    """Returns the recovery of all attacks beside each other."""
    found = [row for row in rows(reading) if row.rho.known]
    if not found:
        return []
    ends = [end for row in found for end in (row.rho.value, row.rho.low, row.rho.high) if end is not None]
    axis = Axis.linear(max(-1.0, min(-0.1, *ends)), min(1.5, max(1.0, *ends)), "recovery: 0 retrained, 1 original")
    place = place_of(reading.judged or "", reading.drawn)
    titles = [row.title for row in found]
    names = [f"{row.title}, {row.cost}" if titles.count(row.title) > 1 else row.title for row in found]
    drawn = [Row(name, [Dot(place, name, row.rho)]) for name, row in zip(names, found, strict=True)]
    band = (-reading.record.thresholds["recovery"], reading.record.thresholds["recovery"])
    worst = max(found, key=lambda row: row.rho.value)
    text = (
        f"{worst.title} brings back most, {_with_interval(worst.rho)} of what the original knows beyond the retrained "
        "model. The band is what a removal may show. Of the points of an attack the one is shown at which most comes "
        "back, and its interval takes no account of that choice; the verdict does."
    )
    return figures(("Recovery by attack", dot_chart(drawn, axis, title="Recovery by attack", band=band), text))


def curves(reading: Reading) -> list[Figure]:
    """Returns a chart for each attack that has an axis: the judged and the retrained model under it."""
    found = []
    for attack in _ordered(reading.record.attacks):
        told = sorted((row for row in _drawn(attack) if row["at"] is not None), key=lambda row: row["at"])
        if len(told) > 1 and attack["axis"]:
            found.append((title_of(attack), _curve(reading, attack, told), _caption(attack, told)))
    return figures(*found)


def _drawn(attack: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Rows of the measure that decides, with the point before the attack; of several curves the worst."""
    worst, measures = worst_row(attack), {row["measure"] for row in headlines(attack)}
    series = worst["series"] if worst else ""
    return [row for row in attack["rows"] if row["measure"] in measures and row["series"] == series]


def _curve(reading: Reading, attack: Mapping[str, Any], told: Sequence[Mapping[str, Any]]) -> str:
    roles = [role for role in reading.drawn if any(role in row["values"] for row in told)]
    lines = []
    for role in roles:
        points = [(float(row["at"]), row["values"][role]["value"]) for row in told if role in row["values"]]
        place = place_of(role, reading.drawn)
        lines.append(Curve(points, f"line s{place}", place))
    x = Axis.linear(float(told[0]["at"]), float(told[-1]["at"]), attack["axis"])
    measure = scored(told[0]["measure"])
    return xy_chart(lines, x, Axis.linear(0.0, 1.0, measure), title=f"{measure} under the attack {attack['title']}")


def _caption(attack: Mapping[str, Any], told: Sequence[Mapping[str, Any]]) -> str:
    last = worst_row(attack) or told[-1]
    shown = [
        f"{model(role)} {number(last['values'][role]['value'])}"
        for role in (attack["role"], RETRAINED)
        if role in last["values"]
    ]
    kept = last["details"].get(attack["role"], {}).get("retain")
    broken = "" if kept is None else f" Token accuracy on retain records is then {number(kept)}."
    return f"At {point_of(attack, last)}: {', '.join(shown)}.{broken}{_half_way(attack)}"


def _half_way(attack: Mapping[str, Any]) -> str:
    """Steps to recover, where the attack has such."""
    steps = attack.get("half_way") or {}
    told = [
        f"{model(role)} {'never' if at is None else f'at {number(at)}'}"
        for role in (attack["role"], RETRAINED)
        if role in steps
        for at in (steps[role],)
    ]
    saved = attack.get("savings")
    times = "" if saved is None else f", which is {number(saved)} times as many"
    return f" Half of the way back to the original: {', '.join(told)}{times}." if told else ""
