"""The report: one file, no script, everything escaped, numbers as measured, partial records too."""

from __future__ import annotations

import math
import re

import pytest

from expunge.errors import InputError
from expunge.reports.record import from_plain, read_record, write_record
from expunge.reports.render import render, write_report
from expunge.reports.svg import number
from tests.reports.records import (
    ACCURACY,
    EVIL,
    LOSS,
    PARAPHRASED,
    QUALITY,
    ROLES,
    STRENGTH,
    Page,
    audited,
    empty,
    full,
    gap,
    score,
    without,
)


def one_subject() -> dict:
    plain = full()
    sizes = {"n": 1, "records": 1, "low": None, "high": None}
    return {**plain, **{name: [{**item, **sizes} for item in plain[name]] for name in ("scores", "gaps")}}


def policy() -> dict:
    plain = without(full(), "unlearned")
    scores = [score("rouge(split=forget, form=trained)", role, 0.5) for role in ("original", "policy")]
    return {
        **plain,
        "columns": ["original", "retrained", "policy"],
        "scores": plain["scores"] + scores,
        "result": None,
        "method": {**plain["method"], "reversible": True},
    }


def unmeasured() -> dict:
    plain = full()
    nothing = {"value": math.nan, "low": math.nan, "high": math.nan}
    return {
        **plain,
        "scores": [{**item, **nothing} for item in plain["scores"]],
        "gaps": [{**item, **nothing} for item in plain["gaps"]],
        "distributions": [{**item, "values": [], "records": 0} for item in plain["distributions"]],
    }


def only_forget() -> dict:
    plain = full()
    return {**plain, "scores": [item for item in plain["scores"] if item["label"] == STRENGTH], "distributions": []}


PARTIAL = {
    "empty": empty(),
    "evil": full(EVIL),
    "audited": audited(),
    "audited evil": audited(EVIL),
    "audited, no retrained": without(audited(), "retrained"),
    "no retrained": without(full(), "retrained"),
    "no retain": only_forget(),
    "one subject": one_subject(),
    "not measured": unmeasured(),
    "policy": policy(),
    "original only": without(without(full(), "retrained"), "unlearned"),
    "two retrained": {**full(), "columns": [*full()["columns"], "retrained_2"]},
    "made elsewhere": {**full(), "run": {"steps": 0, "reason": "made elsewhere", "seconds": 0.0, "curves": []}},
}  # fmt: skip


def page_of(plain: dict) -> Page:
    return Page(render(from_plain(plain)))


@pytest.mark.parametrize("name", PARTIAL)
def test_nothing_runs_and_nothing_is_fetched(name):
    html = render(from_plain(PARTIAL[name]))
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert not {"script", "img", "link", "iframe", "object", "embed", "base", "form", "a", "use", "image"} & names
    keys = {key for _, attributes in page.tags for key in attributes}
    assert not any(key.startswith("on") for key in keys)
    assert not {"href", "src", "xlink:href", "srcset", "action", "style"} & keys
    policies = [a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert "url(" not in html
    assert "@import" not in html


@pytest.mark.parametrize("name", PARTIAL)
def test_a_partial_record_says_nothing_that_is_no_word_or_number(name):
    text = page_of(PARTIAL[name]).text
    assert not re.search(r"\b(nan|None|inf|Undefined)\b", text)
    assert "Limits" in text
    assert "Settings" in text


@pytest.mark.parametrize("name", PARTIAL)
def test_the_verdict_comes_first(name):
    texts = page_of(PARTIAL[name]).texts
    word = PARTIAL[name]["verdict"]["word"].capitalize()
    assert word in texts
    assert texts.index(word) < texts.index("Robustness")


def test_hostile_names_stay_text():
    html = render(from_plain(full(EVIL)))
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert EVIL in Page(html).text  # nothing lost, and no template in a name is run


@pytest.mark.parametrize("where", ["scores", "columns", "curves", "split", "forms"])
def test_hostile_names_of_metrics_models_terms_splits_and_forms_stay_text(where):
    plain = full()
    if where == "scores":
        plain["scores"] += [score(f"{EVIL}(split=forget)", role, 0.5) for role in plain["columns"]]
        plain["gaps"].append(gap(f"{EVIL}(split=forget)", "unlearned", 0.5))
    elif where == "columns":
        plain["columns"].append(EVIL)
        plain["scores"] += [score(STRENGTH, EVIL, 0.5), score(ACCURACY, EVIL, 0.5)]
    elif where == "curves":
        plain["run"]["curves"] = [{"step": step, "terms": {EVIL: 1.0}} for step in (1, 2)]
    elif where == "split":
        plain["data"][EVIL] = {"records": 1, "subjects": 0, "hmac": EVIL}
    else:
        plain["forms"]["untested"] = [{"form": EVIL, "reason": EVIL}]
    html = render(from_plain(plain))
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def cell_of(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    return number(value) + ("" if low is None else f" {number(low)} to {number(high)}")


def test_every_score_is_the_records_own():
    plain = full()
    table = next(table for table in page_of(plain).tables if table[0][0] == "metric" and table[0][-1] == "better")
    columns = table[0][1:4]
    rows = {label: row for row in table for label in {item["label"] for item in plain["scores"]} if label in row[0]}
    for item in plain["scores"]:
        cell = rows[item["label"]][1 + columns.index(item["role"])]
        assert cell == cell_of(item["value"], item["low"], item["high"]), item
        for value in item["details"].values():
            assert number(value) in rows[item["label"]][0]
    assert len(rows) == len({item["label"] for item in plain["scores"]})
    assert rows[STRENGTH][4] == "12 subjects 48 records"


def test_every_distance_is_the_records_own():
    plain = full()
    table = next(table for table in page_of(plain).tables if "standing" in table[0])
    assert [row[:3] for row in table[1:]] == [
        ["Extraction strength", "0.0134 -0.04 to 0.045", "inside"],
        ["Probability, paraphrased answer", "0.3 0.1 to 0.5", "outside"],
    ]
    # Half the interval is 1.96 standard errors; 2.8 of them are found with 80 % power.
    assert [float(row[3]) for row in table[1:]] == pytest.approx([0.0425 * 2.8 / 1.96, 0.2 * 2.8 / 1.96], rel=5e-3)


def test_forms_say_which_is_worst_and_which_were_not_tested():
    page = page_of(full())
    table = next(table for table in page.tables if table[0][0] == "form read by")
    assert table[1] == ["trained extraction strength", "0.988 0.9 to 1", "0.11 0.05 to 0.2", "0.123 0.08 to 0.19"]
    # 0.3 of probability is no more than 0.01 of extraction strength: two metrics have no worst form.
    assert table[2] == ["paraphrased answer probability", "0.7", "0.2", "0.5"]
    assert "Worst form" not in page.text
    plain = full()
    cloze = STRENGTH.replace("trained", "cloze")
    plain["scores"] += [score(cloze, role, value) for role, value in zip(ROLES, (0.9, 0.1, 0.2), strict=True)]
    assert "Worst form: cloze, where the unlearned model is furthest from the retrained one, by 0.1." in (
        page_of(plain).text
    )
    assert "Second language: the records have none" in page.text
    silent = page_of({name: value for name, value in full().items() if name != "forms"})
    assert "Paraphrased question, cloze, multiple choice, reverse" in silent.text


def test_forms_that_all_were_tested_leave_no_heading():
    assert "Not tested" not in page_of({**full(), "forms": {"tested": ["trained"], "untested": []}}).texts


def test_tiles_by_hand():
    page = page_of(full())
    text = page.text
    assert "Forgetting 0.877 0.81 to 0.92 retrained: 0.89 Given the question, the model completes 12 %" in text
    # 0.4 / 0.8 on the nearest records is the least that was kept.
    assert "Utility 0.5 retrained: 1 Share of the original's token accuracy that is left on neighbours 1" in text
    assert "Membership not measured" in text
    assert "Robustness not tested" in text


def test_robustness_where_attacks_were_run():
    plain = full()
    plain["verdict"]["recovery"] = {"attack": "relearn_few", "value": 0.4, "low": 0.3, "high": 0.5}
    assert "Robustness 0.4 0.3 to 0.5 retrained: 0 The worst attack, relearn few, brings back" in page_of(plain).text


def test_a_reader_sees_words_and_not_keys():
    page = page_of(full())
    codes = set(re.findall(r"<code>(.*?)</code>", render(from_plain(full()))))
    shown = page.text
    for code in sorted(codes, key=len, reverse=True):
        shown = shown.replace(code, "")
    assert not re.findall(r"\b[a-z]+_[a-z_]+\b", shown.replace("from_pretrained", ""))
    for words in ("learning rate 1e-05", "retain term nll (top k 3)", "stopper none", "note of user npo", "1,234,567"):
        assert words in shown
    assert "Extraction strength is 0.12." not in shown  # a sentence that begins with a metric keeps its case
    assert "extraction strength is 0.12." in shown


def test_settings_digests_and_limits_are_all_there():
    page = page_of(full("limit of npo"))
    table = next(table for table in page.tables if table[0] == ["what", "SHA-256"])
    assert table[1:] == [
        ["original model", "ab"],
        ["retrained model", "ae"],
        ["unlearned model", "ad"],
        ["unlearned weights", "ef"],
        ["tokenizer", "70c3"],
        ["code", "c0de"],
    ]
    data = next(table for table in page.tables if table[0][0] == "split")
    assert data[1] == ["forget", "48", "12", "cd"]
    assert "margin 0.05" in page.text
    assert "2026-01-01 00:00 UTC" in page.text


def test_every_section_is_there_and_none_is_empty():
    html = render(from_plain(full()))
    found = re.findall(r"<h2>(.*?)</h2>(.*?)(?=<h2>|</body>)", html, re.DOTALL)
    assert [name for name, _ in found] == [
        "Forgetting against utility",
        "Forget set, each model",
        "Forms of the forget set",
        "Distance to the retrained model",
        "Distributions over records",
        "Membership inference",
        "Neighbours",
        "Training",
        "All scores",
        "Settings",
        "Data and digests",
        "Limits",
    ]
    charts = [name for name, inside in found if '<svg viewBox="0 0 460' in inside]
    assert charts == [name for name, _ in found[:2] + found[3:8]]


def test_what_needs_a_retrained_model_is_left_out_without_one():
    text = page_of(without(full(), "retrained")).text
    assert "No retrained model was handed in" in text
    assert "Distance to the retrained model" not in text
    assert "Without a retrained model no region counts as removed" in text


def test_a_policy_says_what_stands_behind_it():
    text = page_of(policy()).text
    assert "A policy stands before weights that are the original's" in text
    assert "expunge.load" in text
    assert "Loss attack, area under the ROC curve: 0.5 is chance" in text  # of the weights behind it


def test_few_subjects_are_said_to_be_few():
    assert "The forget set has 1 subject, fewer than 10" in page_of(one_subject()).text
    assert "fewer than 10" not in page_of(full()).text


def test_details_that_were_not_measured_say_so():
    plain = full()
    plain["scores"].append(score(LOSS.replace("loss", "zlib"), "unlearned", None, p=None))
    assert "unlearned: p not measured" in page_of(plain).text


def test_a_number_that_is_missing_says_why():
    plain = full()
    why = {"missing": "no forget prompt was answered <b>"}
    plain["scores"].append({**score("answer_mix(split=forget)", "unlearned", None), **why})
    page = page_of(plain)
    assert "No number for unlearned, because no forget prompt was answered <b>." in page.text
    assert "because" not in page_of(full()).text


def test_record_survives_the_disk(tmp_path):
    write_record(tmp_path / "record.json", from_plain(full()))
    found = read_record(tmp_path / "record.json")
    assert render(found) == render(from_plain(full()))
    assert [item["label"] for item in found.scores if item["label"] in (QUALITY, PARAPHRASED)]


def test_report_tables_and_record_stand_side_by_side(tmp_path):
    assert write_report(tmp_path, from_plain(full())) == tmp_path / "report.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "scores.csv", "scores.tex"]


def test_another_schema_version_is_refused():
    with pytest.raises(InputError, match="schema version 2"):
        from_plain({**full(), "schema_version": 2})


def test_a_record_of_before_reads():
    plain = {name: value for name, value in full().items() if name not in ("forms", "distributions", "digests")}
    page = page_of(plain)
    assert "Distributions over records" not in page.text
    assert ["original model", "ab"] in next(table for table in page.tables if table[0][0] == "what")
