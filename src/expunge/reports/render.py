"""The report: one HTML file with everything in it, no script, readable in print, light and dark."""

from __future__ import annotations

from pathlib import Path

from expunge.reports.pages import render_page
from expunge.reports.reading import ORIGINAL, Reading
from expunge.reports.record import RunRecord
from expunge.reports.sections import (
    distances,
    distributions,
    forgetting,
    membership,
    neighbours,
    settings,
    summary,
    tables,
    training,
)
from expunge.reports.table import to_csv, to_latex
from expunge.reports.words import MEANINGS, TONES, plainly
from expunge.storage import atomic


def render(record: RunRecord) -> str:
    """Returns the report as HTML text."""
    reading = Reading(record)
    plane, places = forgetting.plane(reading)
    word = record.verdict["word"]
    return render_page(
        "report.html.jinja",
        reading.roles,
        record=record,
        meaning=MEANINGS.get(word, ""),
        tone=TONES.get(word, ""),
        tiles=summary.tiles(reading),
        small_sample=summary.small_sample(reading),
        has_reference=reading.has_reference,
        policy=reading.candidate == "policy",
        plane=plane,
        places=places,
        reasons=[plainly(reason, reading.labels) for reason in record.verdict["reasons"]],
        settings=settings.groups(record),
        digests=settings.digests(record),
        dots=forgetting.dots(reading),
        forms=forgetting.forms(reading),
        compared=[role for role in reading.roles if role in (ORIGINAL, reading.candidate)],
        distances=distances.distances(reading),
        distance_charts=distances.charts(reading),
        distributions=distributions.charts(reading),
        membership=membership.charts(reading),
        neighbours=neighbours.charts(reading),
        training=training.charts(reading),
        groups=tables.groups(reading),
        omitted=tables.omitted(reading),
    )


def write_report(folder: Path, record: RunRecord) -> Path:
    """Writes ``report.html``, ``scores.csv`` and ``scores.tex`` into a run folder; returns the first."""
    path = folder / "report.html"
    atomic.write_text(folder / "scores.csv", to_csv(record))
    atomic.write_text(folder / "scores.tex", to_latex(record))
    atomic.write_text(path, render(record))
    return path
