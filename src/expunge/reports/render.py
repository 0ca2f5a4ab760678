"""The report: one HTML file with everything in it, no script, readable in print, light and dark."""

from __future__ import annotations

from pathlib import Path

from expunge.reports.pages import render_page
from expunge.reports.reading import ORIGINAL, Reading
from expunge.reports.record import UNKNOWN, RunRecord
from expunge.reports.sections import (
    attacks,
    baseline,
    changes,
    distances,
    distributions,
    eight,
    forgetting,
    membership,
    neighbours,
    settings,
    summary,
    tables,
    training,
    verdict,
)
from expunge.reports.table import to_csv, to_latex
from expunge.storage import atomic


def render(record: RunRecord) -> str:
    """Returns the report as HTML text."""
    reading = Reading(record)
    plane, places = forgetting.plane(reading)
    return render_page(
        "report.html.jinja",
        reading.drawn,
        columns=reading.roles,
        record=record,
        heading=record.model.get("judged") or record.model["name"],
        origin=origin(record),
        box=verdict.box(reading),
        candidate=reading.candidate,
        named=reading.name,
        tiles=summary.tiles(reading),
        size=size_sentence(reading),
        has_reference=reading.has_reference,
        policy=reading.candidate == "policy",
        plane=plane,
        places=places,
        settings=settings.groups(record),
        digests=settings.digests(record),
        dots=forgetting.dots(reading),
        forms=forgetting.forms(reading),
        compared=[role for role in reading.drawn if role in (ORIGINAL, reading.candidate)],
        distances=distances.groups(distances.distances(reading)),
        explanation=distances.explanation(reading),
        distance_charts=distances.charts(reading),
        distributions=distributions.charts(reading),
        membership=membership.charts(reading),
        neighbours=neighbours.charts(reading),
        baseline=baseline.baseline(reading),
        weights=changes.weights(reading),
        attacks=attacks.rows(reading),
        attacks_omitted=attacks.omitted(reading),
        attack_charts=attacks.chart(reading),
        attack_curves=attacks.curves(reading),
        eight=eight.rows(reading),
        training=training.charts(reading),
        groups=tables.groups(reading),
        omitted=tables.omitted(reading),
    )


def origin(record: RunRecord) -> str:
    """Returns how the judged model was made, or what a model made elsewhere is compared with, for the heading."""
    if record.method["name"] != UNKNOWN:
        return f", {record.method['name']} on {record.model['name']}"
    return f", compared with {record.model['name']}" if ORIGINAL in record.columns else ""


def size_sentence(reading: Reading) -> str:
    """Returns what a forget set of this size cannot show, where the verdict does not say so already."""
    if any(reason.startswith("At this size") for reason in reading.record.verdict["reasons"]):
        return summary.small_sample(reading)
    return summary.small_sample(reading) or distances.power(reading)


def write_report(folder: Path, record: RunRecord) -> Path:
    """Writes ``report.html``, ``scores.csv`` and ``scores.tex`` into a run folder; returns the first."""
    path = folder / "report.html"
    atomic.write_text(folder / "scores.csv", to_csv(record))
    atomic.write_text(folder / "scores.tex", to_latex(record))
    atomic.write_text(path, render(record))
    return path
