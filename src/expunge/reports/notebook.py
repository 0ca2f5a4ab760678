"""A record that a notebook shows as a card: the verdict, the four numbers, and the scores."""

from __future__ import annotations

from typing import Any

from expunge.reports.pages import render_page
from expunge.reports.reading import Reading
from expunge.reports.record import from_plain
from expunge.reports.sections.summary import tiles
from expunge.reports.sections.tables import groups
from expunge.reports.sections.verdict import box


class RunReport(dict[str, Any]):
    """The plain data of ``record.json``, which it is in every respect, with a view for notebooks."""

    def _repr_html_(self) -> str:
        """HTML with inline styles, escaped: notebooks take no style sheet and run no script of ours."""
        record = from_plain(self)
        reading = Reading(record)
        return render_page(
            "card.html.jinja",
            reading.roles,
            box=box(reading),
            named=reading.name,
            tiles=tiles(reading),
            groups=groups(reading),
        )
