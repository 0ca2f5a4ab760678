"""Templates of the pages: escaping on, unknown names refused, filters for numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from expunge.reports.sections.changes import percent
from expunge.reports.sections.summary import interval, shown
from expunge.reports.svg import marker, number, place_of
from expunge.reports.words import model, moment, sentence, words


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("expunge.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "shown": shown,
        "interval": interval,
        "round3": number,
        "signed": signed,
        "finite": finite,
        "p_value": p_value,
    }
    environment.filters |= {"model": model, "sentence": sentence}
    environment.filters |= {
        "words": words,
        "percent": percent,
        "moment": moment,
        "setting_name": _setting_name,
    }
    return environment


def _setting_name(name: str) -> str:
    """``training.learning_rate`` as a reader says it."""
    return words(name).replace(".", ": ")


def render_page(template: str, roles: Sequence[str], **context: Any) -> str:
    """Returns a page.

    Args:
        template: file name.
        roles: models (or runs) that have a marker, in the order of the legend.
        context: what the template names.
    """

    def key(role: str) -> Markup:
        return legend_key(place_of(role, roles))

    return _environment().get_template(template).render(roles=roles, key=key, **context)


def signed(value: float) -> str:
    """A difference with its sign; a dash where one side was not measured."""
    if value == 0:
        return "0"
    return f"{value:+.3g}" if math.isfinite(value) else "\u2013"


def finite(value: float) -> str:
    """Three significant digits; a dash for what is no number."""
    return number(value) if math.isfinite(value) else "\u2013"


def p_value(value: float) -> str:
    """A p-value; read off an interval by the normal distribution, its far tail says no more than that it is small."""
    return "< 0.0001" if 0 <= value < 1e-4 else finite(value)


def legend_key(place: int) -> Markup:
    """A model's line and marker, as the legend shows them."""
    drawn = f'<line class="line s{place}" x1="0" y1="7" x2="40" y2="7"/>{marker(place, 20, 7)}'
    return Markup(f'<svg viewBox="0 0 40 14" aria-hidden="true">{drawn}</svg>')  # noqa: S704 - no text in it
