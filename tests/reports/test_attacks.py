"""What a reader is told of attacks: names, places, the worst curve, and what could not be run."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from expunge.attacks.recovery import Excess
from expunge.attacks.result import AttackResult, Row
from expunge.attacks.result import Value as Shown
from expunge.config import to_plain
from expunge.reports.reading import Reading, Value
from expunge.reports.record import from_plain
from expunge.reports.sections import attacks, eight
from tests.reports.records import full


def shown(value: float) -> Shown:
    return Shown(value=value, low=None, high=None)


def row(at: float, own: float, series: str = "", **changes: Any) -> Row:
    rho = Excess(own - 0.1, own - 0.2, own, 0.01, 12)
    values = {"unlearned": shown(own), "retrained": shown(0.1)}
    point = f"{at:g}, {series}" if series else f"{at:g}"
    found = Row(
        point=point,
        at=at,
        measure="extraction_strength",
        headline=at > 0,
        decides=at > 0,
        values=values,
        rho=rho,
        plain=at == 0,
        series=series,
    )
    return replace(found, **changes)


def result(*rows: Row, **changes: Any) -> AttackResult:
    found = AttackResult(
        name="relearn",
        label="relearn",
        title="relearning",
        family="relearning",
        access="weights",
        paper="",
        axis="optimizer steps",
        budget="quick",
        settings={"learning_rate": 0.00125, "rates": (0.3, 2.0), "folds": 2},
        role="unlearned",
        seed=0,
        rows=rows,
        before={"original": {"extraction_strength": shown(1.0)}},
        seconds={"unlearned": 2.5, "retrained": 9.0},
    )
    return replace(found, **changes)


def told(*results: AttackResult) -> Reading:
    return Reading(from_plain({**full(), "attacks": [to_plain(one) for one in results]}))


def test_two_ways_to_run_one_attack_have_two_names():
    rates = result(row(0, 0.1), row(5, 0.4), changed=("learning_rate", "rates", "own_file"))
    names = [found.title for found in attacks.rows(told(result(row(5, 0.4)), rates))]
    assert names == ["Relearning", "Relearning (learning_rate 0.00125, rates 0.3 2, own_file)"]


def test_a_place_is_told_with_what_it_counts():
    (plain,) = attacks.rows(told(result(row(0, 0.1), row(5, 0.4), row(10, 0.3))))
    assert (plain.point, plain.place) == ("5 (optimizer steps)", "5")
    (several,) = attacks.rows(told(result(row(5, 0.2, "rate x0.3"), row(10, 0.4, "rate x2"))))
    assert (several.point, several.place) == ("10 (optimizer steps), rate x2", "10, rate x2")
    (named,) = attacks.rows(told(result(row(5, 0.4, point="layer 5"))))
    assert named.point == "layer 5"


def test_of_several_curves_the_worst_is_drawn():
    slow = [row(at, own, "rate x0.3") for at, own in ((0, 0.1), (5, 0.11), (10, 0.12))]
    fast = [row(at, own, "rate x2") for at, own in ((0, 0.1), (5, 0.9))]
    (figure,) = attacks.curves(told(result(*slow, *fast)))
    assert "At 5 (optimizer steps), rate x2: unlearned 0.9" in figure.reading
    lines = re.findall(r'<polyline class="line[^"]*" points="([^"]*)"', figure.svg)
    assert [len(line.split()) for line in lines] == [2, 2]  # two points of each model


def test_the_caption_is_of_the_worst_point():
    (figure,) = attacks.curves(told(result(row(0, 0.1), row(5, 0.9), row(10, 0.2))))
    assert figure.reading.startswith("At 5 (optimizer steps): unlearned 0.9")


def test_two_budgets_of_one_attack_are_two_rows_of_a_chart():
    (figure,) = attacks.chart(told(result(row(5, 0.4)), result(row(5, 0.3), budget="paper", seed=0)))
    assert "Relearning, quick, 2.5 s" in figure.svg
    assert "Relearning, paper, 2.5 s" in figure.svg
    assert attacks.title_of(to_plain(result(row(5, 0.4), seed=3))) == "Relearning (seed 3)"


def test_of_several_ways_to_run_an_attack_a_row_of_the_eight_has_the_worst():
    ways = [result(row(5, own), changed=("folds",) if own == 0.9 else ()) for own in (0.3, 0.9, 0.2)]
    assert eight._recoveries(told(*ways), ["relearn", "jailbreak"]) == [
        ("Relearning (folds 2)", Value(pytest.approx(0.8), pytest.approx(0.7), 0.9))
    ]


def test_what_could_not_be_run_is_told_apart():
    missing = result(changed=("folds",), omitted="There is a single subject.")
    reading = told(missing, result(row(5, 0.4)))
    assert len(attacks.rows(reading)) == 1
    assert attacks.omitted(reading) == [("Relearning (folds 2)", "There is a single subject.")]
    (_, _, line) = attacks.lines({"attacks": [to_plain(result(row(5, 0.4)))]})
    assert line.split() == [
        "Relearning",
        "weights",
        "quick,",
        "2.5",
        "s",
        "5",
        "0.1",
        "0.4",
        "0.3",
        "(0.2",
        "to",
        "0.4)",
    ]
