"""The sections by hand: what each sentence says of numbers small enough to work out, and what each chart draws."""

from __future__ import annotations

import math
import re

import pytest

from expunge.reports.comparison import Run, compare_records, render_comparison
from expunge.reports.headline import headline
from expunge.reports.reading import Reading, Value
from expunge.reports.record import from_plain
from expunge.reports.sections import distributions, forgetting, membership, neighbours, settings, summary, training
from expunge.reports.sections.distances import standing
from tests.reports.records import PARAPHRASED, ROLES, STRENGTH, full, gap, score, without


@pytest.fixture
def reading() -> Reading:
    return Reading(from_plain(full()))


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (0.01, -0.04, 0.04, "inside"),
        (-0.01, -0.06, 0.04, "undecided"),  # reaches beyond the lower end alone
        (0.01, -0.04, 0.06, "undecided"),
        (0.2, 0.1, 0.3, "outside"),
        (-0.2, -0.3, -0.1, "outside"),
        (0.2, -0.1, 0.5, "undecided"),  # no difference is not excluded
        (0.04, 0.01, 0.07, "undecided"),
        (0.2, None, None, "outside"),
        (0.01, None, None, "undecided"),  # nothing is inside without an interval
    ],
)
def test_standing_by_hand(value, low, high, expected):
    assert standing(Value(value, low, high), 0.05) == expected


def test_the_region_is_the_margin_around_the_retrained_models_forgetting(reading):
    (figure,), places = forgetting.plane(reading)
    assert [place.role for place in places] == ["original", "retrained", "unlearned"]
    assert places[2].forgetting == pytest.approx((0.8766, 0.81, 0.92))
    assert places[2].utility.value == pytest.approx(0.5)  # 0.4 of 0.8 on the nearest records
    band = re.search(r'<rect class="band" x="([\d.]+)".*?width="([\d.]+)"', figure.svg)
    assert [float(side) for side in band.groups()] == pytest.approx([48 + 0.84 * 398, 0.1 * 398], abs=0.06)
    assert "lies outside the shaded region" in figure.reading


def unseparated(*bounds: float) -> dict:
    """A record whose original is where the retrained model is by extraction strength; ``bounds`` are of the gap."""
    plain = full()
    for item in plain["scores"]:
        if (item["label"], item["role"]) == (STRENGTH, "original"):
            item.update(value=0.11 + bounds[0], low=None, high=None)
    plain["gaps"] = [one for one in plain["gaps"] if (one["label"], one["role"]) != (STRENGTH, "original")]
    plain["gaps"].append(gap(STRENGTH, "original", *bounds))
    return plain


@pytest.mark.parametrize(
    "bounds", [(0.04, 0.03, 0.05), (0.2, 0.04, 0.36), (0.2, -0.1, 0.5), (0.04,), (-0.3, -0.4, -0.2)]
)
def test_the_axis_is_a_metric_that_tells_the_original_from_the_retrained_model(bounds):
    """Within the margin, or with an interval that includes it, the original is in the region itself or may be."""
    reading = Reading(from_plain(unseparated(*bounds)))
    (figure,), places = forgetting.plane(reading)
    assert "forgetting, 1 - probability, paraphrased answer (separates original and retrained most)" in figure.svg
    assert [place.forgetting.value for place in places] == pytest.approx([0.3, 0.8, 0.5])
    assert figure.reading.startswith(
        "Extraction strength is not shown to separate the original from the retrained model by more than the margin, "
        "so the axis shows probability, paraphrased answer, which separates them most. The unlearned model lies outside"
    )
    (left,) = re.findall(r'<rect class="band" x="([\d.]+)"', figure.svg)
    assert float(left) == pytest.approx(48 + 0.75 * 398, abs=0.06)
    tile = summary.tiles(reading)[0]
    assert (tile.value, tile.retrained) == ("0.5", "0.8")  # the same metric as the chart's


def test_the_separation_is_counted_in_standard_errors():
    """0.3 with half an interval of 0.02 is 29 standard errors, 0.5 with 0.2 is 5."""
    plain = unseparated(0.0, -0.01, 0.01)
    cloze = STRENGTH.replace("trained", "cloze")
    plain["scores"] += [score(cloze, role, value) for role, value in zip(ROLES, (0.5, 0.2, 0.4), strict=True)]
    plain["gaps"] += [gap(cloze, "original", 0.3, 0.28, 0.32), gap(PARAPHRASED, "original", 0.5, 0.3, 0.7)]
    assert headline(Reading(from_plain(plain))).label == cloze
    plain["gaps"][-2] = gap(cloze, "original", 0.3, 0.1, 0.5)
    assert headline(Reading(from_plain(plain))).label == PARAPHRASED


def test_without_a_metric_that_separates_no_region_is_drawn():
    plain = unseparated(0.0, -0.01, 0.01)
    plain["gaps"].append(gap(PARAPHRASED, "original", 0.5, 0.04, 0.9))
    reading = Reading(from_plain(plain))
    (figure,), _ = forgetting.plane(reading)
    assert "band" not in figure.svg
    assert ">removed<" not in figure.svg
    assert figure.reading == (
        "No region is marked as removed: no forget metric is shown to separate the original from the retrained model "
        "by more than the margin."
    )
    tile = summary.tiles(reading)[0]
    assert tile.words.endswith("The original is not shown to differ from the retrained model by this metric.")
    runs = [Run(name, from_plain(plain), key="k") for name in "ab"]
    page = render_comparison(compare_records(runs))
    assert "No region is marked as removed" in page
    assert "In the shaded region" not in page
    both = [Run(name, from_plain(unseparated(0.0, -0.01, 0.01)), key="k") for name in "ab"]
    page = render_comparison(compare_records(both))
    assert "so the axis shows probability, paraphrased answer, which separates them most. In the shaded region" in page


def test_a_model_in_the_region_is_said_to_be_inside():
    plain = full()
    plain["scores"] = [item for item in plain["scores"] if "neighbours" not in item["label"]]
    assert "lies inside the shaded region" in forgetting.plane(Reading(from_plain(plain)))[0][0].reading


def test_a_utility_far_above_the_originals_is_drawn_at_its_value():
    def height(factor: float) -> float:
        plain = full()
        for item in plain["scores"]:
            if item["role"] == "unlearned" and "split=retain" in item["label"]:
                item.update(value=factor * item["value"], low=None, high=None)
        plain["scores"] = [item for item in plain["scores"] if "neighbours" not in item["label"]]
        (figure,), places = forgetting.plane(Reading(from_plain(plain)))
        assert places[2].utility.value > 1.5
        ticks = [float(tick) for tick in re.findall(r">(\d\.?\d*)</text>", figure.svg)]
        return max(ticks)

    assert height(4.0) > height(2.5) > 1.5


def test_neighbours_stand_from_near_to_far(reading):
    (figure,) = neighbours.charts(reading)
    assert (
        "kept 0.5 of the original's accuracy on the nearest records and 1 on the furthest: a locality gap of 0.5"
        in (figure.reading)
    )
    labels = re.findall(r'text-anchor="middle">(.*?)<', figure.svg)
    assert labels == ["1", "2", "far"]


def test_areas_are_those_of_the_record_and_low_rates_are_not_read_from_few(reading):
    plain, low = membership.charts(reading)
    assert "original 0.938, unlearned not measured" in plain.reading
    assert "With 4 records never seen, no small false positive rate can be read." in low.reading
    assert len(re.findall(r'<polyline class="line', plain.svg)) == 2


def test_the_curve_of_an_attack_goes_through_its_rates(reading):
    # Original: three members above the best of the others, the fourth below three of them.
    drawn = re.search(r'<polyline class="line s0" points="(.*?)"', membership.charts(reading)[0].svg)
    pixels = [tuple(float(side) for side in pair.split(",")) for pair in drawn.group(1).split()]
    rates = [((x - 48) / 398, (258 - y) / 232) for x, y in pixels]
    expected = [(0, 0), (0, 0.25), (0, 0.5), (0, 0.75), (0.25, 0.75), (0.5, 0.75), (0.5, 1), (0.75, 1), (1, 1)]
    assert rates == [pytest.approx(point, abs=1e-3) for point in expected]


def test_losses_are_positive_and_the_furthest_place_is_marked(reading):
    ratio, forget, holdout = distributions.charts(reading)
    assert [ratio.title, forget.title, holdout.title] == [
        "Truth ratio of the forget records",
        "Loss of the forget records",
        "Loss of records no model has seen",
    ]
    # Forget losses 0.1 to 0.3 and 3 against 1 to 4: up to 0.3 lie three of four and none.
    assert "D = 0.75" in forget.reading
    marked = re.search(r'<polyline class="gapline" points="([\d.]+),', forget.svg)
    assert float(marked.group(1)) == pytest.approx(48 + 0.3 / 4 * 398, abs=0.1)
    # Ratios 0.3 and 0.6 against 0.2 and 0.4.
    assert "unlearned and retrained models" in ratio.reading
    assert "D = 0.5" in ratio.reading


def test_terms_that_were_not_finite_are_counted_and_not_drawn(reading):
    forget, kl = training.charts(reading)
    assert forget.reading == "Forget: 2 at step 1, 2 at step 1; not finite at 1 step."
    assert kl.reading == "Retain kl: 0.5 at step 1, 0.25 at step 2."
    assert "nan" not in forget.svg


def test_untested_forms_are_grouped_by_reason():
    plain = full()
    plain["forms"]["untested"] = [{"form": form, "reason": "absent"} for form in ("cloze", "yes_no")]
    assert forgetting.forms(Reading(from_plain(plain))).untested == [("cloze and yes or no", "absent")]


def test_without_a_retrained_model_the_form_that_is_held_most_is_the_worst():
    plain = full()
    plain["scores"] += [score(STRENGTH.replace("trained", "cloze"), "unlearned", 0.2)]
    found = forgetting.forms(Reading(from_plain(without(plain, "retrained"))))
    assert [(row.form, row.is_worst) for row in found.rows] == [
        ("trained", False),
        ("paraphrased answer", False),
        ("cloze", True),
    ]
    assert "of which the unlearned model holds most" in found.reading


def test_a_digest_that_a_role_already_has_stands_once():
    plain = full()
    plain["result"]["digest"] = plain["digests"]["unlearned"]
    names = [name for name, _ in settings.digests(from_plain(plain))]
    assert names == ["original model", "retrained model", "unlearned model", "tokenizer", "code"]


def test_a_record_without_losses_shows_probabilities():
    plain = full()
    label = "probability(split=forget, form=trained, normalised=False)"
    plain["scores"] = [{**item, "label": label} for item in plain["scores"] if item["label"].startswith("extraction")]
    plain["distributions"] = [
        {"label": label, "role": role, "split": "forget", "records": 3, "values": [0.1, 0.2, math.pi / 4]}
        for role in plain["columns"]
    ]
    assert [figure.title for figure in distributions.charts(Reading(from_plain(plain)))] == [
        "Probability of the forget records"
    ]
