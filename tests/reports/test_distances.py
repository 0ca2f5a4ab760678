"""Distances as the verdict has them, what is furthest, what was not computed, and what a size cannot show; by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from expunge.reports.reading import Reading
from expunge.reports.record import from_plain
from expunge.reports.render import render, size_sentence
from expunge.reports.sections import distances, forgetting, tables
from expunge.reports.words import either, names, plainly
from tests.reports.records import ACCURACY, LOSS, PARAPHRASED, ROLES, ROUGE, STRENGTH, Page, audited, full, score


@pytest.fixture
def reading() -> Reading:
    return Reading(from_plain(audited()))


def page_of(plain: dict) -> Page:
    return Page(render(from_plain(plain)))


def test_what_decides_stands_as_the_verdict_has_it(reading):
    first, second = distances.distances(reading)
    assert (first.label, first.standing, first.decides, first.p) == (STRENGTH, "inside", True, 0.25)
    assert first.detectable == 0.0607
    assert (second.label, second.standing, second.decides) == (PARAPHRASED, "outside", False)
    assert math.isnan(second.p)
    plain = audited()
    plain["verdict"]["measures"][0]["standing"] = "outside"  # whatever the interval says
    figures = distances.charts(Reading(from_plain(plain)))
    assert [figure.title for figure in figures] == ["What decides", "Further metrics"]
    assert figures[0].reading == (
        "Against a margin of 0.05, of 1 metric none inside, 1 outside and none undecided. Outside: extraction strength "
        "by 0.0134."
    )
    assert 'class="remark outside"' in figures[0].svg


def test_tables_of_distances_have_p_where_it_decides_alone():
    decides, others = [table for table in page_of(audited()).tables if "standing" in table[0]]
    assert decides == [
        ["metric", "distance", "standing", "p", "detectable", "n"],
        ["Extraction strength", "0.0134 -0.04 to 0.045", "inside", "0.25", "0.0607", "12 18 needed"],
    ]
    assert others[0] == ["metric", "distance", "standing", "detectable", "n"]
    assert others[1][:3] == ["Probability, paraphrased answer", "0.3 0.1 to 0.5", "outside"]


def test_without_an_interval_neither_p_nor_detectable_is_a_number():
    plain = audited()
    plain["verdict"]["measures"][0]["distance"] = {
        "value": 0.2, "low": None, "high": None, "p": 0.0, "detectable": math.inf,
    }  # fmt: skip
    table = next(table for table in page_of(plain).tables if "standing" in table[0])
    assert table[1][1:] == ["0.2", "inside", "–", "–", "12"]


@pytest.mark.parametrize(("p", "shown"), [(0.0, "< 0.0001"), (9e-5, "< 0.0001"), (1e-4, "0.0001"), (1.0, "1")])
def test_very_small_p_values_are_not_told_in_digits(p, shown):
    plain = audited()
    plain["verdict"]["measures"][0]["distance"]["p"] = p
    assert next(table for table in page_of(plain).tables if "p" in table[0])[1][3] == shown


def several(values: tuple[float, ...] = (0.11, 0.2)) -> dict:
    plain = audited()
    others = [f"retrained_{number}" for number in range(2, len(values) + 1)]
    plain["columns"] = ["original", "retrained", *others, "unlearned", "guardrail"]
    plain["scores"] += [score(STRENGTH, role, value) for role, value in zip(others, values[1:], strict=True)]
    away = {"value": 0.98765 - max(values), "low": 0.7, "high": 0.9, "p": 0.0, "p_alone": 0.0, "detectable": 0.1}
    plain["verdict"]["measures"][0]["original"] = away
    return plain


def test_several_retrained_models_make_a_band():
    found = Reading(from_plain(several()))
    assert found.references == ["retrained", "retrained_2"]
    assert "from the band between 2 retrained models" in " ".join(distances.explanation(found))
    decides, further = distances.charts(found)
    assert "distance from the band of 2 retrained models" in decides.svg
    # The original's 0.98765 is that far above the higher of 0.11 and 0.2.
    assert "original: 0.788 (0.7 to 0.9)" in decides.svg
    assert "distance from the band" not in " ".join(distances.explanation(Reading(from_plain(audited()))))


def test_behind_an_adapter_the_originals_weights_decide():
    plain = audited()
    plain["verdict"]["role"] = "original"
    found = Reading(from_plain(plain))
    assert found.judged == "original"
    assert distances.distances(found)[0].role == "original"
    assert "What decides is the original model's" in " ".join(distances.explanation(found))
    (chart, _) = distances.charts(found)
    assert "unlearned" not in chart.svg


def test_the_furthest_is_told_of_each_metric_and_not_across_metrics():
    plain = full()
    cloze = STRENGTH.replace("trained", "cloze")
    plain["scores"] += [score(cloze, role, value) for role, value in zip(ROLES, (0.9, 0.1, 0.2), strict=True)]
    held, attacks = forgetting.dots(Reading(from_plain(plain)))
    # Probability is 0.3 from the retrained model, which says nothing beside 0.1 of extraction strength.
    assert held.reading == (
        "Furthest from the retrained model, of each metric that is read in several ways: extraction strength, cloze "
        "(0.2, 0.1 there)."
    )
    assert attacks.reading == "Nothing here was read on both the unlearned and the retrained model."


def test_distances_of_single_metrics_are_not_compared(reading):
    held, _ = forgetting.dots(reading)
    assert held.reading == "Each metric is read in one way here, and distances of different metrics do not compare."


def test_areas_of_attacks_are_told_as_a_range():
    plain = full()
    zlib = LOSS.replace("loss", "zlib")
    plain["scores"] = [item for item in plain["scores"] if item["label"] != LOSS]
    for label, values in ((LOSS, (0.9, 0.5, 0.3)), (zlib, (0.8, 0.6, 0.4))):
        plain["scores"] += [score(label, role, value) for role, value in zip(ROLES, values, strict=True)]
    _, attacks = forgetting.dots(Reading(from_plain(plain)))
    assert attacks.reading == (
        "Areas under the ROC curve, 0.5 is chance: 0.3 to 0.4 on the unlearned model, 0.5 to 0.6 on the "
        "retrained model."
    )


def test_what_was_not_computed_is_told_in_few_lines(reading):
    hidden, missing = tables.omitted(reading)
    assert (hidden.reason, hidden.extent) == ("hidden by npo", "2 metrics, guardrail")
    assert hidden.lines == [("", "extraction strength; probability")]
    assert missing.reason == "the forget records have no decoy word"
    assert missing.extent == "1 metric, every model but the guardrail"


def test_what_was_not_computed_names_models_where_they_differ():
    plain = full()
    a, b = (f"token_rank(split=forget, form={form})" for form in ("trained", "cloze"))
    plain["omitted"] = [
        *({"label": a, "role": role, "reason": "why"} for role in ("original", "unlearned")),
        *({"label": label, "role": "retrained", "reason": "why"} for label in (b, ACCURACY)),
    ]
    (found,) = tables.omitted(Reading(from_plain(plain)))
    assert found.extent == "3 metrics, every model"
    assert found.lines == [
        ("original and unlearned", "token rank"),
        ("retrained", "token rank; token accuracy on retain"),
    ]
    plain["omitted"] = [{"label": label, "role": "unlearned", "reason": "why"} for label in (a, b)]
    assert tables.omitted(Reading(from_plain(plain)))[0].lines == [("", "token rank (as trained, cloze)")]


def test_metrics_of_one_name_are_told_apart_by_what_they_do_not_share():
    choice = "multiple_choice(split=forget, form=multiple_choice, scoring={}, without_question={})"
    labels = [choice.format("cloze", False), choice.format("letter", False), choice.format("cloze", True)]
    k = [f"mia_min_k(split=forget, k={value})" for value in (0.1, 0.2)]
    found = names([*labels, *k, STRENGTH, ROUGE.replace("forget", "retain")])
    assert list(found.values()) == [
        "multiple choice, cloze",
        "multiple choice, letter",
        "multiple choice, cloze, without question",
        "Min-K% attack, k 0.1",
        "Min-K% attack, k 0.2",
        "extraction strength",
        "ROUGE-L recall on retain",
    ]


def test_forms_and_metrics_in_a_sentence_are_words():
    assert plainly(f"asked as multi_hop: {STRENGTH}", names([STRENGTH])) == "asked as multi-hop: extraction strength"
    assert [either(["a"]), either(["a", "b"]), either(["a", "b", "c"])] == ["a", "a or b", "a, b or c"]


def test_the_smallest_difference_that_would_show_is_told_once(reading):
    assert size_sentence(reading) == (
        "With 12 subjects, 1 of 1 metric that decides may miss a difference of the margin, 0.05: the smallest that "
        "each shows reliably (5 % level, 80 % power) is 0.0607. About 18 subjects would be enough."
    )
    said = replace(reading.record, verdict={**reading.record.verdict, "reasons": ["At this size nothing shows."]})
    assert size_sentence(Reading(said)) == ""
    plain = audited()
    plain["verdict"]["measures"][0]["standing"] = "outside"  # it was not missed
    assert size_sentence(Reading(from_plain(plain))) == ""
    plain = audited()
    plain["verdict"]["measures"][0]["distance"]["detectable"] = 0.05
    assert size_sentence(Reading(from_plain(plain))) == ""


def test_one_metric_that_read_fewer_subjects_does_not_make_the_forget_set_small():
    plain = full()
    plain["scores"] = [{**item, "n": 9 if item["label"] == PARAPHRASED else item["n"]} for item in plain["scores"]]
    assert size_sentence(Reading(from_plain(plain))) == ""
    plain["scores"] = [{**item, "n": 9} for item in plain["scores"]]
    assert "The forget set has 9 subjects" in size_sentence(Reading(from_plain(plain)))


def test_the_table_says_how_many_subjects_would_be_enough():
    """12 subjects show 0.0607 and 0.05 takes 17.7; what lies outside the margin has been found already."""
    page = render(from_plain(audited()))
    assert "18 needed" in page
    assert page.count(" needed</small>") == 1
    assert "Needed is the number of subjects that would show a difference of the margin." in page
    plain = audited()
    plain["verdict"]["measures"][0]["distance"]["detectable"] = 0.05
    page = render(from_plain(plain))
    assert "needed</small>" not in page
    assert "Needed is" not in page


def test_a_membership_attack_needs_the_subjects_twice():
    plain = audited()
    wide = {**plain["verdict"]["measures"][0]["distance"], "detectable": 0.2}
    plain["verdict"]["measures"].append({"label": LOSS, "standing": "undecided", "distance": wide})
    assert size_sentence(Reading(from_plain(plain))).endswith(
        "About 200 subjects in the forget set, and as many in the holdout set, would be enough."
    )
