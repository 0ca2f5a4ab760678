"""Charts: where a value lands, what is drawn of it, and that the text is well formed and escaped."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from importlib.resources import files

import pytest

from expunge.reports.charts import (
    Curve,
    Dot,
    Region,
    Row,
    Spot,
    dot_chart,
    dots_of,
    place_labels,
    plane_chart,
    spread_axis,
    unit_axis,
    xy_chart,
)
from expunge.reports.reading import Value
from expunge.reports.svg import Axis, Scale, marker, place_of, polyline, ticks
from tests.reports.records import EVIL

NAN = math.nan


def pairs(points: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in points.split())]


def draw(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart)  # noqa: S314 - our own text


def styled(chart: str, tag: str, style: str) -> list[ElementTree.Element]:
    return [found for found in draw(chart).iter(tag) if style in (found.get("class") or "").split()]


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 1, 4, [0, 0.5, 1]),
        (0, 1, 6, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 10, 4, [0, 5, 10]),
        (0, 0.3, 4, [0, 0.1, 0.2, 0.3]),
        (-1.2, 3, 4, [0, 2]),
        (0.0, 3e-7, 4, [0, 1e-7, 2e-7, 3e-7]),
        (2, 2, 4, [2]),
        (1, 0, 4, [1]),
    ],
)
def test_ticks_by_hand(low, high, count, expected):
    assert ticks(low, high, count) == pytest.approx(expected)


def test_scale_by_hand():
    scale = Scale(0, 10, 100, 200)
    assert (scale(2.5), scale.clipped(12), scale.clipped(-1)) == (125, 200, 100)
    assert Scale(0, 10, 200, 100)(2.5) == 175  # upwards, as an axis of values is
    assert Scale(3, 3, 100, 200)(3) == 150


def test_logarithmic_axis_by_hand():
    axis = Axis.log(-1.5, 0.5, "x")
    assert (axis.low, axis.high) == (-2.0, 1.0)
    assert axis.ticks == [(-2.0, "0.01"), (-1.0, "0.1"), (0.0, "1"), (1.0, "10")]


def test_spread_axis_ends_at_round_numbers_around_all_values():
    axis = spread_axis([0.3, 8.4], "loss")
    assert (axis.low, axis.high) == (0.0, 10.0)
    low = spread_axis([-3.0, 1.0], "term")
    assert low.low <= -3.0
    assert low.high >= 1.0
    assert spread_axis([0.0], "flat").high == 1.0


def test_a_model_keeps_its_marker_in_all_reports():
    assert place_of("unlearned", ["original", "retrained", "unlearned"]) == place_of("unlearned", ["unlearned"]) == 2
    roles = ["original", "retrained", "retrained_2", "unlearned"]
    assert len({place_of(role, roles) for role in roles}) == 4


def test_twelve_further_models_are_told_apart_by_shape_and_colour():
    style = (files("expunge.reports") / "templates" / "style.css").read_text()
    colours = {name: re.findall(rf"(?<!-)--{name}: (#\w+);", style) for name in ("s0", "s1", "s2", "s3", "s4", "s5")}
    assert {len(found) for found in colours.values()} == {3}  # light, dark and print
    for column in zip(*colours.values(), strict=True):
        assert len(set(column)) == 6
    names = ["original", "retrained", "unlearned", "policy", *(f"model {number}" for number in range(12))]
    places = [place_of(name, names) for name in names]
    looks, lines = set(), set()
    for place in places:
        (fill,) = re.findall(rf"\.mark\.s{place} {{ fill: var\(--(s[0-5])\)", style)
        assert re.findall(rf"(?<![\w.])\.s{place} {{ stroke: var\(--(s[0-5])\)", style) == [fill]
        dashes = re.findall(rf"\.line\.s{place} {{ stroke-dasharray: ([\d ]+);", style)
        looks.add((fill, re.sub(r'class="[^"]*"', "", marker(place, 0, 0))))
        lines.add((fill, *dashes))
    assert len(looks) == len(lines) == len({shape for _, shape in looks}) == 16
    methods = [f"method {number}" for number in range(14)]
    assert len({place_of(method, methods) for method in methods}) == 14


def test_a_point_of_a_line_lands_where_its_value_is():
    # The panel is 460 x 300; its axes run from 48 to 446 across and from 258 up to 26.
    chart = xy_chart([Curve([(0, 0), (0.5, 0.25), (1, 1)], "line s2")], unit_axis("x"), unit_axis("y"), title="t")
    (line,) = styled(chart, "polyline", "s2")
    assert pairs(line.get("points", "")) == [(48.0, 258.0), (247.0, 200.0), (446.0, 26.0)]


def test_points_that_are_no_numbers_are_left_out_and_those_beyond_the_axis_stand_at_its_end():
    chart = xy_chart(
        [Curve([(0, 0), (0.5, NAN), (math.inf, 0), (1, 7)], "line s0")], unit_axis(""), unit_axis(""), title=""
    )
    (line,) = styled(chart, "polyline", "s0")
    assert pairs(line.get("points", "")) == [(48.0, 258.0), (446.0, 26.0)]


def test_ticks_stand_under_their_values():
    chart = xy_chart([Curve([(0, 0), (1, 1)], "line s0")], unit_axis("across"), unit_axis("up"), title="")
    marks = {(text.text, text.get("text-anchor")): text for text in draw(chart).iter("text")}
    half = marks["0.4", "middle"]
    assert float(half.get("x", "")) == pytest.approx(48 + 0.4 * 398, abs=0.05)
    assert float(marks["0.4", "end"].get("y", "")) == pytest.approx(258 - 0.4 * 232 + 4, abs=0.05)
    assert {"across", "up"} <= {text for text, _ in marks}


def test_corners_too_close_to_tell_apart_are_dropped_but_never_the_last():
    assert pairs(polyline([(0, 0), (0.1, 0.1), (5, 0), (5.1, 0)], "x").split('"')[3]) == [(0, 0), (5, 0), (5.1, 0)]


def test_dots_and_intervals_land_where_their_values_are():
    row = Row("m", dots_of(["original", "retrained"], [Value(0.25, 0.0, 0.5), Value(NAN)]))
    chart = dot_chart([row], unit_axis("value"), title="t")
    # Names take 152 and the right edge 14 of 460, so that 0 is at 152 and 1 at 446.
    (square,) = styled(chart, "polygon", "s0")
    corners = pairs(square.get("points", ""))
    assert sum(x for x, _ in corners) / 4 == pytest.approx(152 + 0.25 * 294, abs=0.05)
    (whisker,) = styled(chart, "line", "whisker")
    assert (float(whisker.get("x1", "")), float(whisker.get("x2", ""))) == (152.0, 299.0)
    assert square[0].text == "original: 0.25 (0 to 0.5)"
    assert not styled(chart, "circle", "s1")  # not measured


def test_the_margin_is_shaded_between_its_ends():
    axis = Axis.linear(-1, 1, "gap")
    row = Row("m", [Dot(2, "unlearned", Value(0.0))], "inside")
    (band,) = styled(dot_chart([row], axis, title="", band=(-0.5, 0.5)), "rect", "band")
    start, stop = 152, 446 - 66  # a remark takes 66 more
    assert float(band.get("x", "")) == pytest.approx(start + 0.25 * (stop - start))
    assert float(band.get("width", "")) == pytest.approx(0.5 * (stop - start))


def test_long_names_take_lines_of_their_own_and_rows_do_not_overlap():
    rows = [Row("a name that is much too long for one line of it", [Dot(0, "x", Value(0.5))]) for _ in range(3)]
    chart = dot_chart(rows, unit_axis(""), title="")
    heights = [float(text.get("y", "")) for text in [*styled(chart, "text", "row"), *styled(chart, "text", "label")]]
    names = [text for text in draw(chart).iter("text") if text.get("x") == "0.0"]
    assert len(names) == 3 * 2  # at 23 letters a line
    lines = sorted(float(text.get("y", "")) for text in names)
    assert all(later - sooner >= 13.9 for sooner, later in zip(lines, lines[1:], strict=False))
    assert max(heights) < float(draw(chart).get("viewBox", "").split()[3])


def test_a_model_lands_in_the_plane_with_both_intervals():
    spot = Spot(Dot(1, "retrained", Value(0.5, 0.25, 0.75)), Value(1.0, 0.9, 1.1))
    region = Region((0.45, 0.55), (0.95, 1.2))
    y = Axis.linear(0.8, 1.2, "utility")
    chart = plane_chart([spot], unit_axis("forgetting"), y, title="t", region=region, note="removed")
    (circle,) = styled(chart, "circle", "s1")
    # 340 high: 298 is the lower end, 26 the upper one, so that 1.0 of 0.8 to 1.2 is half way.
    assert (float(circle.get("cx", "")), float(circle.get("cy", ""))) == (247.0, 162.0)
    across, upright = styled(chart, "line", "whisker")
    assert (float(across.get("x1", "")), float(across.get("x2", ""))) == (147.5, 346.5)
    assert (float(upright.get("y1", "")), float(upright.get("y2", ""))) == (230.0, 94.0)
    (band,) = styled(chart, "rect", "band")
    assert float(band.get("x", "")) == pytest.approx(48 + 0.45 * 398, abs=0.05)
    assert float(band.get("height", "")) == pytest.approx(0.25 / 0.4 * 272, abs=0.1)


def test_labels_cover_neither_points_nor_each_other():
    centres = [(440.0, 100.0), (436.0, 104.0), (430.0, 98.0)]
    names = ["unlearned", "retrained", "original"]
    places = place_labels(centres, names, floor=300)
    boxes = [(x, y - 11, x + 7.7 * len(name), y + 3) for (x, y), name in zip(places, names, strict=True)]
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0
        assert right <= 460
        for a, b, c, d in boxes[number + 1 :]:
            assert right < a or left > c or bottom < b or top > d
        assert not any(left <= x <= right and top <= y <= bottom for x, y in centres)


def test_charts_are_well_formed_and_escaped():
    spot = Spot(Dot(0, EVIL, Value(0.5)), Value(1.0))
    axis = unit_axis(EVIL)
    for chart in (
        dot_chart([Row(EVIL, [spot.dot], EVIL)], axis, title=EVIL),
        xy_chart([Curve([(0, 0), (1, 1)], "line", 2)], axis, axis, title=EVIL),
        plane_chart([spot], axis, axis, title=EVIL, region=Region((0, 1), (0, 1)), note=EVIL),
    ):
        root = draw(chart)
        assert root.get("aria-label") == EVIL
        assert {element.tag for element in root.iter()} <= {
            "svg", "title", "text", "line", "rect", "polyline", "polygon", "circle",
        }  # fmt: skip


def test_nothing_to_draw_draws_nothing():
    axis = unit_axis("")
    assert dot_chart([], axis, title="") == ""
    assert dot_chart([Row("m", [])], axis, title="") == ""
    assert xy_chart([Curve([(NAN, 1.0)], "line")], axis, axis, title="") == ""
    assert plane_chart([Spot(Dot(0, "x", Value(NAN)), Value(1.0))], axis, axis, title="") == ""


def test_no_heading_ends_a_printed_page():
    """Nor do the legend and the sentence between a heading and its chart."""
    style = (files("expunge.reports") / "templates" / "style.css").read_text()
    printed = style[style.index("@media print") :]
    rule = next(line for line in printed.splitlines() if "break-after: avoid" in line)
    assert {"h2", "h3", ".legend", "h2 + p", "h3 + p"} <= {part.strip() for part in rule.partition("{")[0].split(",")}


def test_printed_figures_stand_in_lines_and_leave_room_for_others():
    """A grid keeps its rows together, and a figure as tall as it likes leaves half a page empty before it."""
    style = (files("expunge.reports") / "templates" / "style.css").read_text()
    printed = style[style.index("@media print") :]
    assert ".panels { display: block; orphans: 1; widows: 1; }" in printed
    assert re.search(r"figure svg \{ max-height: \d+mm; \}", printed)
