"""The table over many runs: which numbers it takes, how it puts them together, and what it says of them."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace
from typing import get_args

import pytest

from expunge.evaluation.verdict.policy import Word
from expunge.reports.bench import (
    ACCURACY,
    MEMBERSHIP,
    OTHER_FORM,
    PROBABILITY,
    SAID,
    STRENGTH,
    BenchRow,
    Summary,
    Triple,
    paragraph,
    row_of,
    shown,
    table,
    to_csv,
    to_markdown,
)
from expunge.reports.bench_page import Trade, axis_measure, front, to_page, trades
from expunge.reports.reading import Value
from expunge.reports.record import RunRecord
from expunge.reports.words import GROUNDS


def record(scores: dict[str, dict[str, float]], *, columns: list[str]) -> RunRecord:
    plain = [
        {"label": label, "role": role, "value": value, "low": None, "high": None, "n": 12}
        for label, of in scores.items()
        for role, value in of.items()
    ]
    empty: dict[str, object] = {name: {} for name in ("model", "method", "axes", "training", "data")}
    return RunRecord(
        schema_version=1,
        expunge="0",
        finished="",
        **empty,
        run={"seconds": 3.0},
        result=None,
        columns=columns,
        scores=plain,
        gaps=[],
        omitted=[],
        verdict={"word": "partly removed"},
        thresholds={"margin": 0.05},
        limits=[],
    )


def roles(original: float, retrained: float, own: float, judged: str = "unlearned") -> dict[str, float]:
    return {"original": original, "retrained": retrained, judged: own}


SCORES = {
    "extraction_strength(split=forget, form=trained)": roles(1.0, 0.1, 0.12),
    "extraction_strength(split=forget, form=cloze)": roles(0.8, 0.1, 0.4),
    "extraction_strength(split=forget, form=reverse)": roles(0.8, 0.3, 0.35),
    "extraction_strength(split=retain, form=trained)": roles(1.0, 1.0, 0.2),
    "exact_memorisation(split=forget, form=trained)": roles(1.0, 0.3, 0.4),
    "exact_memorisation(split=retain, form=trained)": roles(1.0, 1.0, 0.9),
    "exact_memorisation(split=world_facts, form=trained)": roles(0.8, 0.8, 0.76),
    "mia_loss(split=forget, against=holdout)": roles(1.0, 0.5, 0.9),
    "rouge(split=forget, form=trained, max_new_tokens=64)": roles(1.0, 0.2, 0.2),
    "rouge(split=retain, form=trained, max_new_tokens=64)": roles(1.0, 1.0, 0.5),
}


def test_a_row_takes_the_right_numbers():
    row = row_of(record(SCORES, columns=["original", "retrained", "unlearned"]), method="npo", seed=3)
    assert row.measures[STRENGTH] == Triple(1.0, 0.1, 0.12)
    assert row.measures[OTHER_FORM] == Triple(0.8, 0.1, 0.4)  # the furthest from the retrained model
    assert row.measures[MEMBERSHIP] == Triple(1.0, 0.5, 0.9)
    assert row.utility == pytest.approx(0.9)  # the worse of 0.9 and 0.95
    assert (row.method, row.seed, row.verdict, row.seconds) == ("npo", 3, "partly removed", 3.0)


def test_utility_and_its_bound_are_those_of_the_verdict():
    """A part of retain with twelve subjects counts here as it does there; the record says what a removal must keep."""
    near = {"exact_memorisation(split=neighbours_1, form=trained)": roles(0.8, 0.8, 0.4)}
    found = record({**SCORES, **near}, columns=["original", "retrained", "unlearned"])
    strict = replace(found, thresholds={"margin": 0.05, "utility": 0.4})
    row = row_of(strict, method="npo", seed=0)
    assert row.utility == pytest.approx(0.5)
    assert "It keeps 0.500" in paragraph(Summary("npo", [row]))
    assert "costs utility: it keeps 0.500" in paragraph(Summary("npo", [row_of(found, method="npo", seed=0)]))
    few = [{**score, "n": 2} if "neighbours" in score["label"] else score for score in found.scores]
    assert row_of(replace(found, scores=few), method="npo", seed=0).utility == pytest.approx(0.9)


def test_a_policy_is_read_through_its_text():
    scores = {
        label: {"policy" if role == "unlearned" else role: value for role, value in of.items() if role != "unlearned"}
        for label, of in SCORES.items()
    }
    scores["rouge(split=forget, form=trained, max_new_tokens=64)"] = roles(1.0, 0.2, 0.05, "policy")
    scores["rouge(split=retain, form=trained, max_new_tokens=64)"] = roles(1.0, 1.0, 0.98, "policy")
    row = row_of(record(scores, columns=["original", "retrained", "policy"]), method="guardrail", seed=0)
    assert math.isnan(row.measures[STRENGTH].own)
    assert row.measures[SAID].own == 0.05
    assert row.utility == pytest.approx(0.98)
    assert "overlaps the answers by 0.05" in paragraph(Summary("guardrail", [row]))


def rows() -> list[BenchRow]:
    def row(method: str, seed: int, strength: float, auc: float, utility: float) -> BenchRow:
        measures = {STRENGTH: Triple(1.0, 0.1, strength), MEMBERSHIP: Triple(1.0, 0.5, auc)}
        return BenchRow(
            method=method, seed=seed, verdict="partly removed", seconds=2.0, measures=measures, utility=utility
        )

    return [row("a", 0, 0.12, 0.9, 0.99), row("a", 1, 0.2, 0.5, 0.97), row("b", 0, 0.1, 0.1, 0.4)]


def test_means_ranges_and_runs_within_the_margin():
    summary = Summary("a", rows()[:2])
    assert shown(summary.values(STRENGTH)) == "0.16 (0.12 to 0.2)"
    assert summary.within(STRENGTH) == (1, 2)
    assert summary.within(OTHER_FORM) == (0, 0)
    assert shown([]) == "-"
    assert shown([0.5]) == "0.5"


def test_sentences_follow_the_numbers():
    good, bad = paragraph(Summary("a", rows()[:2])), paragraph(Summary("b", rows()[2:]))
    assert "from 1.00 to 0.16 (retrained 0.10, mean distance 0.06), within the margin" in good
    assert "in 1 of 2 runs" in good
    assert (
        "the loss attack finds the forget records more memorised in 1 of 2 runs (AUC 0.70, retrained 0.50, 0.20 apart)"
        in good
    )
    assert "It keeps 0.980" in good
    assert "suspiciously unlikely in 1 of 1 runs (AUC 0.10, retrained 0.50, 0.40 apart)" in bad
    assert "costs utility: it keeps 0.400" in bad


def of_word(word: str, auc: float = 0.5, seed: int = 0) -> BenchRow:
    measures = {STRENGTH: Triple(1.0, 0.1, 0.1), OTHER_FORM: Triple(0.9, 0.1, 0.12), MEMBERSHIP: Triple(1.0, 0.5, auc)}
    return BenchRow(method="a", seed=seed, verdict=word, seconds=1.0, measures=measures, utility=0.99)


@pytest.mark.parametrize("word", get_args(Word))
def test_the_paragraph_gives_the_grounds_of_every_verdict(word):
    said = paragraph(Summary("a", [of_word(word), of_word("removed", seed=1)]))
    if word == "removed":
        assert said.endswith(f"Verdict removed in 2 of 2 runs: {GROUNDS['removed']}.")
    else:
        assert f"Verdict {word} in 1 of 2 runs: {GROUNDS[word]}. Verdict removed in 1 of 2 runs: " in said


def test_a_loss_attack_that_finds_nothing_does_not_contradict_the_verdict_exposed():
    said = paragraph(Summary("a", [of_word("exposed"), of_word("removed", seed=1)]))
    assert "finds no more" not in said
    assert (
        "The loss attack shows no difference beyond the margin (AUC 0.50), but another membership attack finds the "
        "forget records less likely than unseen ones in 1 of 2 runs."
    ) in said
    alone = paragraph(Summary("a", [of_word("removed")]))
    assert "The loss attack shows no difference from the retrained model beyond the margin (AUC 0.50)." in alone
    # An attack that finds them itself needs no other.
    assert "another membership attack" not in paragraph(Summary("a", [of_word("exposed", auc=0.1)]))


def test_a_utility_that_is_kept_does_not_contradict_the_verdict_damaged():
    said = paragraph(Summary("a", [of_word("damaged"), of_word("removed", seed=1)]))
    assert (
        "It keeps 0.990 of the original's utility (least 0.990), but replies to retain prompts are out of range in 1 "
        "of 2 runs."
    ) in said
    assert "out of range in" not in paragraph(Summary("a", [replace(of_word("damaged"), utility=0.5)]))


def test_a_run_that_failed_is_a_row_and_is_said():
    failed = BenchRow(method="a", seed=2, verdict="failed", seconds=math.nan, trouble="it diverged")
    lines = table([*rows()[:2], failed])
    assert lines[3][0] == "a"
    assert lines[3][-1] == "partly removed 2, failed 1"
    assert "1 of 3 runs ended without a record." in paragraph(Summary("a", [*rows()[:2], failed]))
    assert paragraph(Summary("a", [failed])) == "a: no run ended with a record (it diverged)"


def test_files_hold_every_number():
    back = list(csv.DictReader(io.StringIO(to_csv(rows()))))
    assert len(back) == 6
    assert {(line["method"], line["seed"], line["measure"], float(line["own"])) for line in back} >= {
        ("a", "1", STRENGTH, 0.2),
        ("b", "0", MEMBERSHIP, 0.1),
    }
    text = to_markdown(rows(), title="t")
    assert text.startswith("## t\n")
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_the_front_is_what_no_other_beats():
    def trade(name: str, distance: float, utility: float) -> Trade:
        return Trade(name, Value(distance), Value(utility))

    found = [trade("far", 0.5, 1.0), trade("beaten", 0.5, 0.9), trade("near", 0.1, 0.7), trade("twin", 0.1, 0.7)]
    assert [one.method for one in front(found)] == ["near", "twin", "far"]
    assert front([]) == []


def test_trades_are_mean_distances_and_utilities_with_their_ranges():
    first, second = trades(rows())
    assert first.distance == pytest.approx((0.06, 0.02, 0.1))
    assert first.utility == pytest.approx((0.98, 0.97, 0.99))
    assert second.distance.value == pytest.approx(0.0)
    assert second.distance.low is None  # one seed has no range
    unknown = BenchRow(method="c", seed=0, verdict="not verifiable", seconds=1.0, utility=1.0)
    assert [one.method for one in trades([*rows(), unknown])] == ["a", "b"]


def known_by(strength: float, accuracy: float, probability: float) -> BenchRow:
    """The original's values; the retrained model has 0.1 of everything."""
    values = {STRENGTH: strength, ACCURACY: accuracy, PROBABILITY: probability}
    measures = {name: Triple(value, 0.1, 0.12) for name, value in values.items()}
    return BenchRow(method="a", seed=0, verdict="removed", seconds=1.0, measures=measures, utility=1.0)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([known_by(0.9, 1.0, 1.0)], (STRENGTH, True)),
        ([known_by(0.14, 0.3, 0.4)], (PROBABILITY, True)),
        ([known_by(0.9, 1.0, 0.3), known_by(0.12, 0.4, 0.9)], (ACCURACY, True)),  # 0.3 and 0.2 in the worst run
        ([known_by(0.14, 0.12, 0.1)], (STRENGTH, False)),
        ([], (STRENGTH, False)),
    ],
)
def test_the_plot_reads_forgetting_by_a_measure_that_separates_the_models(rows, expected):
    assert axis_measure(rows) == expected


def test_the_plot_marks_no_region_where_the_original_would_be_in_it():
    page = to_page([known_by(0.14, 0.12, 0.1)], title="t")
    assert 'class="band"' not in page
    assert "No region is marked: no measure separates the original from the retrained model" in page
    assert "distance from the retrained model: probability" in to_page([known_by(0.14, 0.12, 0.9)], title="t")
    assert 'class="band"' in to_page([known_by(0.14, 0.12, 0.9)], title="t")


def test_the_page_shows_the_plot_the_table_and_the_paragraphs():
    policy = BenchRow(method="<guard>", seed=0, verdict="not verifiable", seconds=1.0, utility=1.0)
    page = to_page([*rows(), policy], title="t<i>")
    assert "Content-Security-Policy" in page
    assert "<script" not in page
    assert "<guard>" not in page
    assert "<i>" not in page
    assert "Without a place in the plot: &lt;guard&gt;" in page
    assert "The line joins the methods that no other beats: b, a." in page
    assert page.count('class="mark') == 2 * 2  # in the legend and in the plot
    for cell in ("0.16", "0.12 to 0.2", "0.98", "0.97 to 0.99"):
        assert cell in page
    assert "costs utility: it keeps 0.400" in page
    assert "The line joins" not in to_page([policy], title="t")


def test_signs_do_not_cancel_over_seeds():
    def row(seed: int, other: float, auc: float) -> BenchRow:
        measures = {
            OTHER_FORM: Triple(0.9, 0.45, other),
            MEMBERSHIP: Triple(1.0, 0.5, auc),
            STRENGTH: Triple(1, 0.1, 0.1),
        }
        return BenchRow(method="a", seed=seed, verdict="", seconds=1.0, measures=measures, utility=1.0)

    said = paragraph(Summary("a", [row(0, 0.85, 0.9), row(1, 0.05, 0.1)]))
    assert (
        "is 0.40 from the retrained model (it knows more in 1 runs and less in 1), within the margin in 0 of 2" in said
    )
    assert "more memorised in 1 and suspiciously unlikely in 1 of 2 runs (AUC 0.50, retrained 0.50, 0.40 apart)" in said


@pytest.mark.parametrize("high", [None, 1.4])
def test_a_utility_above_the_originals_is_drawn_at_its_value(high):
    """The axis grows with the means, and with their ranges."""

    def row(method: str, utility: float) -> BenchRow:
        measures = {STRENGTH: Triple(0.9, 0.1, 0.1)}
        return BenchRow(method=method, seed=0, verdict="", seconds=1.0, measures=measures, utility=utility)

    rows = [row("a", 1.2), row("b", 1.1), row("c", 1.0)]
    rows += [] if high is None else [replace(rows[0], seed=1, utility=high)]
    svg = to_page(rows, title="x").partition("<svg")[2].partition("<h2>All numbers")[0]
    ticks = [float(tick) for tick in re.findall(r">(\d\.\d+)</text>", svg)]
    assert 1.1 <= max(ticks) <= (high or 1.2)


def test_a_wide_table_wraps_its_headings():
    rows = [BenchRow(method="a", seed=0, verdict="", seconds=1.0, utility=1.0)]
    page = to_page(rows, title="x")
    assert '<div class="scroll wide"' in page
    assert ".wide thead th, .wide td small { white-space: normal; }" in page
