"""All scores as tables, in groups, and what was not computed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from expunge.reports.reading import Reading, Value, is_attack
from expunge.reports.svg import number
from expunge.reports.words import Label, aside, counted, listed, model, words

GROUPS: dict[str, Callable[[str], bool]] = {
    "Membership inference": is_attack,
    "Forget quality": lambda label: label.startswith("forget_quality"),
    "Tasks of lm_eval": lambda label: label.startswith("lm_eval("),
    "Forget set": lambda label: Label.parse(label).split == "forget",
    "Utility": lambda label: True,
}
ORDER = ("Forget set", "Forget quality", "Membership inference", "Utility", "Tasks of lm_eval")


_MISSING = re.compile(r"(the \S+ records have no) (\S+)")  # reason that names a form, of which there are many


class Omission(NamedTuple):
    """A reason, of how many metrics and which models it holds, and the metrics for each set of models."""

    reason: str
    extent: str
    lines: list[tuple[str, str]]


class Row(NamedTuple):
    """One metric: its recorded name, a number for each model, its size, direction, details, and why one is missing."""

    label: str
    values: list[Value]
    n: str
    records: str
    direction: str
    details: str
    missing: str


def groups(reading: Reading) -> list[tuple[str, list[Row]]]:
    """Returns the rows of each group that has any."""
    found: dict[str, list[Row]] = {name: [] for name in ORDER}
    for label in reading.labels:
        group = next(name for name, belongs in GROUPS.items() if belongs(label))
        found[group].append(_row(reading, label))
    return [(name, rows) for name, rows in found.items() if rows]


def _row(reading: Reading, label: str) -> Row:
    scores = [score for role in reading.roles if (score := reading.score(label, role)) is not None]
    last = scores[-1]
    records = last.get("records", last["n"])
    clustered = records != last["n"]
    size = counted(last["n"], "subject" if clustered else "record")
    details = "; ".join(
        f"{model(score['role'])}: {', '.join(_detail(*pair) for pair in score['details'].items())}"
        for score in scores
        if score["details"]
    )
    values = [reading.value(label, role) for role in reading.roles]
    clusters = counted(records, "record") if clustered else ""
    return Row(label, values, size, clusters, last["direction"], details, missing(scores))


def missing(scores: Sequence[Mapping[str, Any]]) -> str:
    """Returns why models have no number in one metric, as a clause with a full stop; empty where none says so."""
    reasons: dict[str, list[str]] = {}
    for score in scores:
        if score.get("missing"):
            reasons.setdefault(score["missing"], []).append(model(score["role"]))
    told = [f"no number for {listed(roles)}, because {reason}" for reason, roles in reasons.items()]
    return f"{'; '.join(told)}." if told else ""


def _detail(name: str, value: float | None) -> str:
    return f"{words(name)} {'not measured' if value is None else number(value)}"


def omitted(reading: Reading) -> list[Omission]:
    """Returns what was not computed by reason; reasons that name the missing form are one."""
    by_reason: dict[str, dict[str, list[str]]] = {}
    forms: dict[str, list[str]] = {}
    for item in reading.record.omitted:
        found = _MISSING.fullmatch(item["reason"])
        reason = item["reason"] if found is None else found.group(1)
        if found is not None:
            forms.setdefault(reason, []).append(words(found.group(2)))
        by_reason.setdefault(reason, {}).setdefault(item["label"], []).append(item["role"])
    return [_omission(reading, reason, forms.get(reason, []), of_label) for reason, of_label in by_reason.items()]


def _omission(reading: Reading, reason: str, forms: list[str], by_label: dict[str, list[str]]) -> Omission:
    groups: dict[tuple[str, ...], list[str]] = {}
    for label, roles in by_label.items():
        groups.setdefault(tuple(roles), []).append(label)
    told = f"{reason} {listed(list(dict.fromkeys(forms)))}" if forms else reason
    holding = dict.fromkeys(role for roles in groups for role in roles)
    where = _models(reading, tuple(holding))
    several = len(groups) > 1
    lines = [(_models(reading, roles) if several else "", _compact(labels)) for roles, labels in groups.items()]
    return Omission(told, f"{counted(len(by_label), 'metric')}, {where}", lines)


def _models(reading: Reading, roles: tuple[str, ...]) -> str:
    if len(roles) > 1 and set(roles) >= set(reading.drawn):
        return "every model" if set(roles) >= set(reading.roles) else "every model but the guardrail"
    return listed([model(role) for role in roles])


def _compact(labels: list[str]) -> str:
    """Metrics in words, the forms and settings that tell them apart in brackets."""
    groups: dict[tuple[str, str], list[Label]] = {}
    for label in map(Label.parse, labels):
        groups.setdefault((label.name, label.split), []).append(label)
    told = [(words(name) + ("" if split in ("", "forget") else f" on {words(split)}")) for name, split in groups]
    return "; ".join(name + _scopes(found) for name, found in zip(told, groups.values(), strict=True))


def _scopes(found: list[Label]) -> str:
    """What tells metrics of one name and split apart: the form, and settings that they do not share."""
    keys = dict.fromkeys(key for label in found for key in label.settings)
    varying = [key for key in keys if len({label.settings.get(key) for label in found}) > 1]
    scopes = [" ".join(_setting(key, label.settings.get(key, "")) for key in varying).strip() for label in found]
    return f" ({', '.join(scope for scope in scopes if scope)})" if any(scopes) else ""


def _setting(key: str, value: str) -> str:
    if key == "form":
        return "as trained" if value == "trained" else words(value)
    return aside(key, value)
