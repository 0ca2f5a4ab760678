"""Runs at one utility: ranked by hand, as a table, as plain data and on the page."""

from __future__ import annotations

import json
import math
import re

import pytest

from expunge.cli.compare import lines
from expunge.functional.tradeoff import Point
from expunge.reports.charts import HEIGHT
from expunge.reports.comparison import compare_records, render_comparison
from expunge.reports.matched import Matching, _steps, chart, match_paths, reading
from expunge.reports.reading import Value
from expunge.reports.svg import BOTTOM, LEFT, RIGHT, TOP, WIDTH
from tests.reports.records import ACCURACY, EVIL, STRENGTH, Page
from tests.reports.test_comparison import better, run

# Forgets all and breaks much; keeps all; is beaten by the second in both numbers.
PATHS = {
    "broken": [Point(0, 1.0, 0.2), Point(0.5, 0.4, 0.8), Point(1, 0.0, 1.0)],
    "careful": [Point(0, 0.6, 0.97), Point(0.5, 0.3, 0.99), Point(1, 0.0, 1.0)],
    "beaten": [Point(1, 0.0, 1.0), Point(0, 0.5, 0.9)],
}


def matching(paths=None, **changes) -> Matching:
    found = paths or PATHS
    saved = {name: Value(sorted(path)[0].forgetting) for name, path in found.items()}
    given = {"metric": STRENGTH, "kept": [ACCURACY], "subjects": 12, **changes}
    return match_paths(found, saved, 0.95, **given)


def test_ranking_by_hand():
    """broken: 0.95 is 3/4 of the way from 0.8 to 1, share 0.875, forgetting 0.1; beaten: half way, 0.25."""
    found = matching().runs
    assert [one.name for one in found] == ["careful", "beaten", "broken"]
    assert found[0].at == (0, 0.6, 0.97)
    assert found[1].at == pytest.approx((0.5, 0.25, 0.95), abs=1e-12)
    assert found[2].at == pytest.approx((0.875, 0.1, 0.95), abs=1e-12)
    assert [one.on_front for one in found] == [True, False, True]
    assert found[1].path[0].share == 0  # in order, however it was handed in


def test_stairs_are_what_no_saved_run_beats():
    assert _steps(matching()) == [(0.6, 0.97), (0.6, 0.2), (1.0, 0.2)]
    assert _steps(matching({"one": PATHS["careful"]})) == [(0.6, 0.97)]


def test_plain_data_has_every_number_and_is_json():
    plain = json.loads(json.dumps(matching().to_plain()))
    assert (plain["utility"], plain["forgetting"], plain["kept"]) == (0.95, f"1 - {STRENGTH}", [ACCURACY])
    first = plain["runs"][0]
    assert {name: first[name] for name in ("name", "share", "forgetting", "utility")} == {
        "name": "careful", "share": 0, "forgetting": 0.6, "utility": 0.97,
    }  # fmt: skip
    assert first["saved"] == {"value": 0.6, "low": None, "high": None, "utility": 0.97, "on_front": True}
    assert first["path"][1] == {"share": 0.5, "forgetting": 0.3, "utility": 0.99}


def test_the_chart_has_a_line_for_each_run_and_a_marker_where_it_crosses():
    (figure,) = chart(matching(), ["original"])
    svg = str(figure.svg)
    assert len(re.findall('<polyline class="line s', svg)) == 3
    assert len(re.findall('<polyline class="front"', svg)) == 1
    # original, three saved runs, and the two runs that had to be moved
    assert len(re.findall('class="mark s', svg)) == 6
    (level,) = re.findall(r'<line class="diagonal" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"', svg)
    assert (float(level[0]), float(level[2]), level[1]) == (LEFT, WIDTH - RIGHT, level[3])
    across = LEFT + 0.1 * (WIDTH - RIGHT - LEFT)  # broken has 0.1 left at the level
    assert f'{across:.1f},{float(level[1]):.1f}"' in re.findall('<polyline class="line" points="[^"]*"', svg)[1]
    assert "careful and broken" in figure.reading


def test_utilities_below_zero_eight_and_above_one_are_drawn():
    odd = {"odd": [Point(0, 0.5, 0.0), Point(0.5, 0.2, 1.3), Point(1, 0.0, 1.0)]}
    (figure,) = chart(matching(odd), [])
    (path,) = re.findall('<polyline class="line s[0-9]+" points="([^"]*)"', str(figure.svg))
    assert [corner.split(",")[1] for corner in path.split()][:2] == [f"{HEIGHT + 40 - BOTTOM:.1f}", f"{TOP + 14:.1f}"]
    assert "beats odd in both numbers." in figure.reading


def test_what_the_numbers_do_not_say():
    """The largest variance of a difference over 12 subjects, times the 2.8 of 5 % and 80 %."""
    first, second, *notes = reading(matching(notes=["so it is"]))
    assert "token accuracy on retain)" in first
    assert "12 subjects" in second
    assert f"{2.8016 * math.sqrt(1 / 12):.3g}" in second
    assert notes == ["so it is"]
    two = reading(matching(kept=[ACCURACY, ACCURACY.replace("retain", "world_facts")]))[0]
    assert "token accuracy on retain and world facts, whichever kept least" in two


def test_page_terminal_and_document_show_it_and_are_the_same_without():
    plain = compare_records([run("careful"), run("broken", better()), run("beaten")])
    found = plain._replace(matching=matching())
    assert lines(found)[: len(lines(plain))] == lines(plain)
    table = lines(found)[len(lines(plain)) :]
    assert table[1].startswith("At 0.95 of the original's utility, best first")
    assert table[3].split() == ["careful", "0", "0.97", "0.6", "0.6", "0.97", "on", "the", "front"]
    assert table[4].split() == ["beaten", "0.5", "0.95", "0.25", "0.5", "0.9"]
    assert {**found.to_plain(), "matched": None} == {**plain.to_plain(), "matched": None}
    assert "matched" not in plain.to_plain()
    page = Page(render_comparison(found))
    rows = next(table for table in page.tables if "run, best first" in table[0])
    assert [row[0] for row in rows[1:]] == ["careful", "beaten", "broken"]
    assert rows[3][1:] == ["0.875", "0.95", "0.1", "1", "0.2"]
    assert not re.search(r"\b(nan|None|inf)\b", page.text)
    assert "At 0.95" not in render_comparison(plain)


def test_names_are_escaped():
    found = compare_records([run(EVIL), run("other")])
    paths = {EVIL: PATHS["careful"], "other": PATHS["broken"]}
    page = Page(render_comparison(found._replace(matching=matching(paths, notes=[EVIL]))))
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
