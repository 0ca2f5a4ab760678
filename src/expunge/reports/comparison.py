"""Several runs side by side: whether their numbers may be compared, what they differ in, and the page that shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from expunge.config import to_plain
from expunge.errors import InputError
from expunge.reports import matched
from expunge.reports.headline import headline
from expunge.reports.pages import render_page
from expunge.reports.reading import ORIGINAL, RETRAINED, Reading, Value
from expunge.reports.record import RunRecord
from expunge.reports.sections.figure import Figure
from expunge.reports.sections.forgetting import axis_sentence, dots, plane
from expunge.reports.sections.summary import tiles
from expunge.reports.sections.verdict import box
from expunge.reports.words import Label, counted, listed, names

PAGE_TITLE = "<title>Expunge comparison"
_SAME = 1e-4  # relative difference below which one model's score on one machine is the same number
_FORM_METRICS = ("truth_ratio", "forget_quality", "model_utility", "decoy_rank", "exposure")
WRITTEN = ("template", "has_system", "texts", "thinking", "date", "end")  # what decides how records are written
_SETTINGS = ("expunge", "model", "method", "axes", "training", "before", "thresholds", "environment")


class Run(NamedTuple):
    """One run: a name for the reader, its record, its longest record in tokens, and what its data key can be told by.

    ``key`` is None where the key of the HMACs is gone, ``suite`` where no audit is in the run's log.
    """

    name: str
    record: RunRecord
    max_length: int | None = None
    key: str | None = None
    suite: str | None = None


class Column(NamedTuple):
    """Numbers of one model: of one run, or of all where they agree."""

    title: str
    run: int
    role: str


class Row(NamedTuple):
    """One metric: a number for each column, and each run's difference from the first."""

    label: str
    values: list[Value]
    differences: list[float]


class Comparison(NamedTuple):
    """What a table of several runs says; ``matching`` where they were read again to be compared at one utility."""

    runs: list[Run]
    columns: list[Column]
    rows: list[Row]
    settings: list[tuple[str, list[str]]]
    notes: list[str]
    matching: matched.Matching | None = None

    def to_plain(self) -> dict[str, Any]:
        """Plain data, for ``--json``."""
        return {
            "runs": [{"name": run.name, "verdict": run.record.verdict} for run in self.runs],
            "columns": [column.title for column in self.columns],
            "scores": [
                {
                    "label": row.label,
                    "values": [value.value for value in row.values],
                    "low": [value.low for value in row.values],
                    "high": [value.high for value in row.values],
                    "differences": row.differences,
                }
                for row in self.rows
            ],
            "settings": [{"name": name, "values": values} for name, values in self.settings],
            "notes": self.notes,
            **({} if self.matching is None else {"matched": self.matching.to_plain()}),
        }


def compare_records(runs: Sequence[Run]) -> Comparison:
    """Puts runs side by side; differences are from the first.

    Raises:
        InputError: fewer than two runs, or runs on other records, which the message names by split.
    """
    if len(runs) < 2:
        raise InputError("A comparison takes two or more run folders.")
    notes = [note for run in runs[1:] for note in check_comparable(runs[0], run)]
    readings = [Reading(run.record) for run in runs]
    columns = _columns(runs, readings)
    labels = dict.fromkeys(label for reading in readings for label in reading.labels)
    rows = [_row(label, columns, runs, readings) for label in labels]
    settings = [*_differing(runs), *differing_forms(runs)]
    return Comparison(list(runs), columns, rows, settings, list(dict.fromkeys([*notes, *_other_suites(runs)])))


def _other_suites(runs: Sequence[Run]) -> list[str]:
    if len({run.suite for run in runs}) < 2:
        return []
    named = listed([f"{run.name} ({run.suite or 'unknown'})" for run in runs])
    return [
        f"The audits read other suites: {named}. What one of them did not read is absent there, and what stands at a "
        "glance may rest on other metrics and splits."
    ]


def check_comparable(first: Run, other: Run) -> list[str]:
    """Returns what could not be checked about two runs' records.

    HMACs under one key show whether records are the same. Under two keys they show nothing; then the counts must agree,
    and the same original must have the same scores, which it has on the same records only.

    Raises:
        InputError: the records, or the length at which they are cut, are not the same.
    """
    common = [split for split in first.record.data if split in other.record.data]
    if "forget" not in common:
        raise InputError(f"{first.name} and {other.name} cannot be compared: one of them has no forget set.")
    same_key = first.key is not None and first.key == other.key
    pairs = {split: (first.record.data[split], other.record.data[split]) for split in common}
    changed = [split for split, (a, b) in pairs.items() if not _same_records(a, b, same_key=same_key)]
    if not changed and not same_key:
        changed = _changed_scores(first, other)
    if changed:
        raise InputError(
            f"{first.name} and {other.name} were read on other records ({listed(changed)}), so their numbers cannot be "
            "compared. Audit both on the same files."
        )
    if None not in (first.max_length, other.max_length) and first.max_length != other.max_length:
        raise InputError(
            f"{first.name} cuts records at {first.max_length} tokens and {other.name} at {other.max_length}, so their "
            "numbers cannot be compared. Audit both with the same --max-length."
        )
    compared = WRITTEN if same_key else tuple(name for name in WRITTEN if name != "texts")  # an HMAC of the run's key
    written = [{name: run.record.rendering.get(name) for name in compared} for run in (first, other)]
    if first.record.rendering and other.record.rendering and written[0] != written[1]:
        names = listed([name for name in compared if written[0][name] != written[1][name]])
        raise InputError(
            f"{first.name} and {other.name} write their records in another way ({names}), so their numbers cannot be "
            "compared. Audit both with the same --template, --system, --thinking and --date, from the same original."
        )
    old = [run.name for run in (first, other) if not run.record.rendering]
    notes = [] if same_key else _unchecked(first, other)
    if len(old) == 1:
        notes.append(
            f"{old[0]} was read by an earlier version, which always scored the tokenizer's end token after an answer. "
            "Audit it again to compare the two."
        )
    return notes


def _same_records(a: Mapping[str, Any], b: Mapping[str, Any], *, same_key: bool) -> bool:
    """Other wordings and forms do not make other records; records of an older Expunge have one HMAC over all."""
    digest = "own_hmac" if "own_hmac" in a and "own_hmac" in b else "hmac"
    named = ("records", "subjects", digest) if same_key else ("records", "subjects")
    return all(a.get(name) == b.get(name) for name in named)


def _fingerprinted(first: Run, other: Run) -> bool:
    """Whether both runs read the same original on the same kind of machine."""
    devices = {run.record.environment.get("device") for run in (first, other)}
    digests = {run.record.model["digest"] for run in (first, other)}
    return len(digests) == len(devices) == 1 and digests != {None}


def _changed_scores(first: Run, other: Run) -> list[str]:
    """Splits on whose records, as they were trained on, the same original has other scores."""
    changed = [Label.parse(label) for label in _disagreeing(first, other)]
    return list(dict.fromkeys(found.split or found.name for found in changed if not _reads_forms(found)))


def _disagreeing(first: Run, other: Run) -> list[str]:
    """Labels of which the same original has other scores."""
    if not _fingerprinted(first, other):
        return []
    readings = [Reading(run.record) for run in (first, other)]
    pairs = {label: [reading.value(label, ORIGINAL).value for reading in readings] for label in readings[0].labels}
    return [label for label, (a, b) in pairs.items() if not _agree(a, b)]


def _reads_forms(label: Label) -> bool:
    """Whether a metric reads more than the records as they were trained on."""
    return label.form != "trained" or label.name in _FORM_METRICS or label.settings.get("normalised") == "True"


def differing_forms(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Forms that not all runs read, or not in the same words, as settings: how many records have each."""
    first = runs[0]
    found = []
    counts = [run.record.data.get("forget", {}).get("forms", {}) for run in runs]
    for form in dict.fromkeys(form for of_run in counts for form in of_run if form != "trained"):
        values = [counted(of_run[form], "record") if form in of_run else "" for of_run in counts]
        for place, run in enumerate(runs):
            if values[place] and form in _reworded(first, run):
                values[place] += f", other words than {first.name}"
        found.append((f"forms.{form}", values))
    found.append(("forms.paraphraser", [str(run.record.forms.get("paraphraser") or "") for run in runs]))
    return [(name, values) for name, values in found if len(set(values)) > 1]


def _reworded(first: Run, other: Run) -> set[str]:
    """Forms of the forget records that both runs have, in other words; under two keys the original's scores tell."""
    if first.key is not None and first.key == other.key:
        a, b = (run.record.data.get("forget", {}).get("form_hmacs", {}) for run in (first, other))
        return {form for form in a if form in b and a[form] != b[form]}
    changed = [Label.parse(label) for label in _disagreeing(first, other)]
    return {label.form for label in changed if label.split == "forget" and label.form != "trained"}


def _agree(a: float, b: float) -> bool:
    """Equal, or not measured on one side."""
    return math.isnan(a) or math.isnan(b) or math.isclose(a, b, rel_tol=_SAME, abs_tol=1e-12)


def _unchecked(first: Run, other: Run) -> list[str]:
    pair = f"{first.name} and {other.name}"
    if _fingerprinted(first, other):
        return [
            f"{pair} have keys of their own; that the records are the same is concluded from the original's scores."
        ]
    return [f"{pair} have keys of their own and no original in common: that the records are the same was not checked."]


def _columns(runs: Sequence[Run], readings: Sequence[Reading]) -> list[Column]:
    found = []
    for role in (ORIGINAL, RETRAINED):
        having = [place for place, reading in enumerate(readings) if role in reading.roles]
        if len(having) == len(runs) and _is_shared(role, readings):
            found.append(Column(role, 0, role))
        else:
            found += [Column(f"{role} of {runs[place].name}", place, role) for place in having]
    candidates = [(place, reading.candidate) for place, reading in enumerate(readings) if reading.candidate]
    return found + [Column(runs[place].name, place, role) for place, role in candidates]


def _is_shared(role: str, readings: Sequence[Reading]) -> bool:
    first, *others = readings
    return all(
        _agree(first.value(label, role).value, reading.value(label, role).value)
        for reading in others
        for label in first.labels
    )


def _row(label: str, columns: Sequence[Column], runs: Sequence[Run], readings: Sequence[Reading]) -> Row:
    values = [_value(label, column, readings) for column in columns]
    own = [reading.value(label, reading.candidate).value for reading in readings]
    found = Label.parse(label)
    differences = [
        math.nan if found.split == "forget" and found.form in _reworded(runs[0], run) else value - own[0]
        for run, value in zip(runs[1:], own[1:], strict=True)
    ]
    return Row(label, values, differences)


def _value(label: str, column: Column, readings: Sequence[Reading]) -> Value:
    """A number of one run; of a model that all runs share, that of the first run that read it."""
    if column.title != column.role or column.role not in (ORIGINAL, RETRAINED):
        return readings[column.run].value(label, column.role)
    found = [reading.value(label, column.role) for reading in readings]
    return next((value for value in found if value.known), found[0])


def _differing(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all runs, as text."""
    flat = [_flat({name: to_plain(run.record)[name] for name in _SETTINGS}) for run in runs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    found = [(name, [settings.get(name, "") for settings in flat]) for name in names]
    return [(name, values) for name, values in found if len(set(values)) > 1]


def _flat(value: Any, name: str = "") -> dict[str, str]:
    if isinstance(value, Mapping):
        parts = [_flat(item, f"{name}.{key}" if name else str(key)) for key, item in value.items()]
        return {key: text for part in parts for key, text in part.items()}
    return {name: str(value)}


def render_comparison(comparison: Comparison) -> str:
    """Returns the page as HTML text."""
    runs = comparison.runs
    readings = [Reading(run.record) for run in runs]
    merged = _merged(comparison)
    planes, places = plane(merged)
    summaries = [tiles(reading) for reading in readings]
    return render_page(
        "compare.html.jinja",
        merged.roles,
        runs=[(run.name, box(reading)) for run, reading in zip(runs, readings, strict=True)],
        summaries=[(of_all[0].title, of_all) for of_all in zip(*summaries, strict=True)],
        plane=[_reread(figure, _region(merged)) for figure in planes],
        places=places,
        dots=[_reread(figure, _aim(merged)) for figure in dots(merged)],
        names=names(row.label for row in comparison.rows),
        comparison=comparison,
        matching=comparison.matching,
        matched_chart=[] if comparison.matching is None else matched.chart(comparison.matching, merged.roles),
        matched_reading=[] if comparison.matching is None else matched.reading(comparison.matching),
    )


def _region(merged: Reading) -> str:
    if merged.has_reference:
        why, read = axis_sentence(merged), headline(merged)
        if read is None or not read.separates:
            return why
        told = "In the shaded region forgetting is within the margin of the retrained model, and utility is kept."
        return f"{why} {told}".strip()
    return "The band shows where utility is kept; no retrained model is common to all runs."


def _aim(merged: Reading) -> str:
    if merged.has_reference:
        return "Closer to the retrained model is better in every row."
    return "Closer to a model that never saw the records is better; none is common to all runs."


def _reread(figure: Figure, reading: str) -> Figure:
    return figure._replace(reading=reading)


def _merged(comparison: Comparison) -> Reading:
    """One record with a column for each run, and for the original and the retrained model where the runs agree."""
    first = comparison.runs[0].record
    names = {run.name for run in comparison.runs} | {ORIGINAL, RETRAINED}
    kept = {column.title: column for column in comparison.columns if column.title in names}
    scores: dict[tuple[str, str], dict[str, Any]] = {}
    for title, column in kept.items():
        shared = title == column.role
        for run in comparison.runs if shared else [comparison.runs[column.run]]:
            for score in run.record.scores:
                if score["role"] == column.role:
                    scores.setdefault((score["label"], title), {**score, "role": title})
    common = [gap for gap in first.gaps if gap["role"] == ORIGINAL and {ORIGINAL, RETRAINED} <= set(kept)]
    merged = replace(first, columns=list(kept), scores=list(scores.values()), gaps=common, distributions=[])
    return Reading(merged, baseline=None)  # a run may have any name
