"""What later records have besides scores: findings, a policy, a baseline, weights, rows, and what decided; by hand."""

from __future__ import annotations

import re

import pytest

from expunge.reports.reading import Reading
from expunge.reports.record import from_plain
from expunge.reports.render import render
from expunge.reports.sections import baseline, changes, eight, verdict
from expunge.reports.table import to_csv, to_latex
from tests.reports.records import (
    EVIL,
    ROLES,
    Page,
    audited,
    empty,
    full,
    gap,
    score,
    without,
)

NEW = ("rows", "policy", "changes")


@pytest.fixture
def reading() -> Reading:
    return Reading(from_plain(audited()))


def page_of(plain: dict) -> Page:
    return Page(render(from_plain(plain)))


def test_a_sentence_of_a_finding_stands_once_and_under_its_name(reading):
    found = verdict.box(reading)
    assert found.reasons == ["probability, paraphrased answer is 0.50, versus 0.20 for the retrained model."]
    assert found.findings == [("Npo", "extraction strength is 0.12 in npo.")]
    assert found.policy == "The policy accepts removed, not known or npo: not met."
    text = page_of(audited()).text
    assert text.count("extraction strength is 0.12 in npo.") == 1
    assert "Npo. extraction strength is 0.12 in npo." in text


def test_a_policy_that_is_met_says_so_and_none_says_nothing():
    plain = {**audited(), "policy": {"accept": ["removed"], "met": True}}
    assert verdict.box(Reading(from_plain(plain))).policy == "The policy accepts removed: met."
    plain["policy"] = {"accept": [], "met": None}
    assert verdict.box(Reading(from_plain(plain))).policy == ""


def test_records_of_before_have_none_of_it():
    plain = full()
    assert not set(NEW) & set(plain)
    found = verdict.box(Reading(from_plain(plain)))
    assert (found.findings, found.policy) == ([], "")
    page = page_of(plain)
    for name in ("Trivial baseline", "What changed in the weights", "Eight methods", "What decides"):
        assert name not in page.text
    assert [row[:2] for row in next(table for table in page.tables if "standing" in table[0])][0] == [
        "metric",
        "distance",
    ]


def test_the_guardrail_stands_in_tables_of_scores_only():
    plain = audited()
    html = render(from_plain(plain))
    page = Page(html)
    having = [table[0] for table in page.tables if "guardrail" in table[0]]
    assert [head[0] for head in having] == ["metric", "row", "metric"]  # baseline, eight methods, all scores
    assert "guardrail" not in "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert not any("guardrail" in item for item in re.findall(r"<li>(.*?)</li>", html, re.DOTALL))
    assert Reading(from_plain(plain)).drawn == ROLES


def test_a_run_of_a_comparison_may_be_called_guardrail():
    plain = {**full(), "columns": ["original", "guardrail"]}
    found = Reading(from_plain(plain), baseline=None)
    assert (found.drawn, found.candidate) == (["original", "guardrail"], "guardrail")


def test_csv_and_latex_have_every_column_and_do_not_hang_on_the_new_fields():
    plain = audited()
    bare = {name: value for name, value in plain.items() if name not in NEW}
    bare["verdict"] = {"word": "removed", "reasons": []}
    for write in (to_csv, to_latex):
        assert write(from_plain(plain)) == write(from_plain(bare))
    assert to_csv(from_plain(plain)).count(",guardrail,") == 4
    assert "guardrail" in to_latex(from_plain(plain)).splitlines()[3]


def test_the_baseline_by_hand(reading):
    found = baseline.baseline(reading)
    assert found is not None
    assert found.roles == ["original", "retrained", "unlearned", "guardrail"]
    # ROUGE 0.3 is 0.2 from the retrained model's 0.5, and 0 is 0.5 from it; 2 % refusals are within the margin.
    assert [(row.label.partition("(")[0], row.side) for row in found.rows] == [
        ("rouge", "better"),
        ("rouge", "worse"),
        ("refusal_rate", "better"),
        ("over_refusal", "alike"),
    ]
    assert [value.value for value in found.rows[0].values] == [1.0, 0.5, 0.3, 0.0]
    assert found.sentences == [
        "A filter in front of the original takes no training: of forget records it refuses 100 % (retrained 0 %, "
        "unlearned 0 %) and repeats answers with a ROUGE-L of 0 (retrained 0.5, unlearned 0.3); of retain records it "
        "refuses 0 % (retrained 0 %, unlearned 2 %) and repeats answers with a ROUGE-L of 1 (retrained 1, unlearned "
        "0.9).",
        "Its weights stay the original's: who holds them goes around the filter and has everything.",
        "Against the filter the unlearned model is better in ROUGE-L recall and refusal rate; worse in ROUGE-L recall "
        "on retain; alike in 1 metric.",
    ]


def test_without_a_retrained_model_closer_says_nothing():
    found = baseline.baseline(Reading(from_plain(without(audited(), "retrained"))))
    assert found is not None
    assert [row.side for row in found.rows] == ["", "worse", "", "alike"]
    assert "closer cannot be told" in found.sentences[-1]


@pytest.mark.parametrize(("low", "high", "side"), [(1.0, 3.0, "alike"), (1.0, 1.9, "better"), (None, None, "alike")])
def test_off_the_scale_from_0_to_1_intervals_decide(low, high, side):
    plain = audited()
    label = "reply_perplexity(split=retain)"
    values = {"unlearned": (1.5, low, high), "guardrail": (2.5, 2.0, 4.0)}
    plain["scores"] += [
        {**score(label, role, *bounds), "unit": "perplexity, from 1", "direction": "lower"}
        for role, bounds in values.items()
    ]
    found = baseline.baseline(Reading(from_plain(plain)))
    assert found is not None
    assert found.rows[-1].side == side


def test_a_metric_that_reads_no_model_is_no_baseline_and_not_drawn():
    plain = audited()
    plain["scores"] += [score("blind_baseline(split=forget)", role, 0.5) for role in plain["columns"]]
    found = Reading(from_plain(plain))
    section = baseline.baseline(found)
    assert section is not None
    assert len(section.rows) == 4
    assert not any("blind" in label for label in found.forget_labels())


def test_a_run_that_is_a_policy_has_no_table():
    plain = without(full(), "unlearned")
    plain["columns"] = ["original", "retrained", "policy"]
    found = baseline.baseline(Reading(from_plain(plain)))
    assert found is not None
    assert found.rows == []
    page = page_of(plain)
    assert "This run is itself a policy in front of the original" in page.text
    assert not any("against the filter" in " ".join(table[0]) for table in page.tables)


def test_weights_by_hand(reading):
    found = changes.weights(reading)
    assert found is not None
    assert [(part.name, part.share, part.relative) for part in found.parts] == [
        ("embeddings", 0.0, 0.0),
        ("block 0", 0.25, 0.5),
        ("block 1", 0.75, 1.5),
        ("npo", 0.0, 0.0),
    ]
    assert found.figure.reading == (
        "25 % of the 400 weights have another value, in blocks 0 to 1; all others are the original's. "
        "The largest change is in block 1: its norm is 1.5 of the weights' own."
    )
    heights = [float(side) for side in re.findall(r'class="bar".*?height="([\d.]+)"', found.figure.svg)]
    assert heights == pytest.approx([0, 0.25 * 104, 0.75 * 104, 0, 0, 104 / 3, 104, 0], abs=0.01)


def test_many_blocks_stay_one_chart_inside_its_frame():
    parts = [{"part": str(block), "weights": 10, "changed": 10 * (block > 77), "relative": 0.1} for block in range(80)]
    ends = [{"part": name, "weights": 10, "changed": 10, "relative": 0.2} for name in ("embeddings", "output")]
    plain = {**empty(), "changes": {"share": 0.0488, "parts": [ends[0], *parts, ends[1]]}}
    found = changes.weights(Reading(from_plain(plain)))
    assert found is not None
    assert found.is_long
    assert [part.name for part in found.parts] == ["embeddings", "block 78", "block 79", "output"]
    assert "in the embeddings, blocks 78 to 79 and the output; all others" in found.figure.reading
    bars = [
        (float(x), float(w)) for x, w in re.findall(r'class="bar" x="([\d.]+)".*?width="([\d.]+)"', found.figure.svg)
    ]
    assert len(bars) == 2 * 82
    assert all(x >= 48 and x + width <= 446 for x, width in bars)
    assert all(left + width < right for (left, width), (right, _) in zip(bars[:81], bars[1:82], strict=True))
    marks = re.findall(r'text-anchor="middle">(\d+)<', found.figure.svg)
    assert marks == ["0", "10", "20", "30", "40", "50", "60", "70"]


@pytest.mark.parametrize(
    ("changed", "share", "expected"),
    [(0, 0.0, "None of the 10 weights has another value"), (10, 1.0, "Every one of the 10 weights has another value")],
)
def test_no_change_and_all_change_are_said(changed, share, expected):
    parts = [{"part": "0", "weights": 10, "changed": changed, "relative": share}]
    found = changes.weights(Reading(from_plain({**empty(), "changes": {"share": share, "parts": parts}})))
    assert found is not None
    assert expected in found.figure.reading


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, "0 %"), (1.0, "100 %"), (0.99999, "99.9 %"), (1e-6, "0.0001 %"), (0.123, "12.3 %")]
)
def test_all_and_none_are_said_of_all_and_none_alone(share, expected):
    assert changes.percent(share) == expected


def test_rows_stand_in_order_with_their_numbers_or_why_they_are_absent(reading):
    found = eight.rows(reading)
    assert [(row.number, row.name, len(row.metrics), row.absent) for row in found] == [
        (1, "npo", 2, ""),
        (2, "jailbreak prompts", 0, "takes an attack of npo"),
        (3, "downstream tasks", 0, "not measured"),
    ]
    assert [value.value for value in found[0].metrics[1][1]] == [1.0, 0.5, 0.3, 0.0]
    page = page_of(audited())
    table = next(table for table in page.tables if table[0][0] == "row")
    assert table[4] == ["2. Jailbreak prompts absent: takes an attack of npo"]


def test_a_row_whose_metrics_were_left_out_says_why():
    plain = audited()
    plain["omitted"].append({"label": "multiple_choice(split=forget)", "role": "unlearned", "reason": "no choices"})
    assert eight.rows(Reading(from_plain(plain)))[2].absent == "no choices"


@pytest.mark.parametrize(("splits", "told"), [(("holdout",), "No attack has a number."), ((), "were handed in.")])
def test_membership_that_was_not_read_says_why(splits, told):
    plain = full()
    plain["data"] |= {split: plain["data"]["forget"] for split in splits}
    assert f"Membership not measured No {'attack' if splits else 'records'}" in page_of(plain).text
    assert told in page_of(plain).text


@pytest.mark.parametrize("where", ["part", "role", "label", "standing"])
def test_hostile_text_in_weights_models_and_measures_stays_text(where):
    plain = audited()
    if where == "part":
        plain["changes"]["parts"].append({"part": EVIL, "weights": 1, "changed": 1, "relative": 9.0})
    elif where == "role":
        plain["omitted"].append({"label": f"{EVIL}(split={EVIL})", "role": EVIL, "reason": EVIL})
    elif where == "label":
        plain["gaps"].append(gap(EVIL, "unlearned", 0.5))
        measure = plain["verdict"]["measures"][0]
        plain["verdict"]["measures"].append({**measure, "label": EVIL})
        plain["rows"][0]["labels"].append(EVIL)
        plain["scores"].append(score(EVIL, "guardrail", 0.5))
    else:
        plain["verdict"]["measures"][0]["standing"] = EVIL
    html = render(from_plain(plain))
    assert "<script" not in html
    assert "&lt;script&gt;" in html
