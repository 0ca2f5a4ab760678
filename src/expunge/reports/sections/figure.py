"""A chart with its title and the sentence that reads it."""

from __future__ import annotations

from typing import NamedTuple

from markupsafe import Markup


class Figure(NamedTuple):
    """What a page shows of one chart."""

    title: str
    svg: Markup
    reading: str


def figures(*found: tuple[str, str, str]) -> list[Figure]:
    """Returns the charts, given as title, SVG text and reading, that have anything drawn."""
    # The SVG text is made by expunge.reports.svg, which escapes every text in it.
    return [Figure(title, Markup(svg), reading) for title, svg, reading in found if svg]  # noqa: S704
