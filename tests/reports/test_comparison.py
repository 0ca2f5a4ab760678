"""Several runs side by side: what is refused, what is said, and whose numbers stand where."""

from __future__ import annotations

import json
import math
import re

import pytest
from typer.testing import CliRunner

from expunge.cli.app import app
from expunge.cli.compare import lines
from expunge.errors import InputError
from expunge.reports.comparison import Run, compare_records, render_comparison
from expunge.reports.record import from_plain, write_record
from expunge.storage.digests import DataKey
from expunge.storage.run import RunFolder
from expunge.workflows.compare import compare
from tests.reports.records import ACCURACY, EVIL, LOSS, STRENGTH, Page, full, score, without

KEY = "same"


def changed(plain: dict, label: str, role: str, value: float) -> dict:
    scores = [
        {**item, "value": value} if (item["label"], item["role"]) == (label, role) else item for item in plain["scores"]
    ]
    return {**plain, "scores": scores}


def run(name: str, plain: dict | None = None, key: str | None = KEY, max_length: int | None = 512) -> Run:
    return Run(name, from_plain(plain or full()), max_length, key)


def better() -> dict:
    plain = changed(full(), STRENGTH, "unlearned", 0.1)
    return {**plain, "training": {"learning_rate": 2e-05}, "verdict": {"word": "removed", "reasons": ["It is."]}}


def folder(path, plain: dict, max_length: int = 512) -> None:
    made = RunFolder.create(path, {"verb": "unlearn", "max_length": max_length})
    DataKey.load_or_create(path)
    write_record(made.record, from_plain(plain))


def test_models_that_both_runs_share_stand_once_and_differences_are_from_the_first():
    found = compare_records([run("a"), run("b", better())])
    assert [column.title for column in found.columns] == ["original", "retrained", "a", "b"]
    row = next(row for row in found.rows if row.label == STRENGTH)
    assert [value.value for value in row.values] == [0.98765, 0.11, 0.1234, 0.1]
    assert row.differences == pytest.approx([0.1 - 0.1234])
    assert math.isnan(next(row for row in found.rows if row.label == LOSS).differences[0])
    assert found.settings == [("training.learning_rate", ["1e-05", "2e-05"])]
    assert found.notes == []


def test_models_that_differ_stand_once_for_each_run():
    found = compare_records([run("a"), run("b", changed(full(), STRENGTH, "retrained", 0.3))])
    assert [column.title for column in found.columns] == ["original", "retrained of a", "retrained of b", "a", "b"]
    alone = compare_records([run("a"), run("b", without(full(), "retrained"))])
    assert [column.title for column in alone.columns] == ["original", "retrained of a", "a", "b"]


def test_three_runs_have_two_differences():
    found = compare_records([run("a"), run("b", better()), run("c")])
    row = next(row for row in found.rows if row.label == STRENGTH)
    assert row.differences == pytest.approx([-0.0234, 0.0])


@pytest.mark.parametrize("part", ["records", "subjects", "hmac"])
def test_runs_on_other_records_are_refused(part):
    other = full()
    other["data"]["forget"] = {**other["data"]["forget"], part: 47 if part != "hmac" else "ce"}
    with pytest.raises(
        InputError, match=r"a and b were read on other records \(forget\).*Audit both on the same files"
    ):
        compare_records([run("a"), run("b", other)])


def test_under_keys_of_their_own_the_originals_scores_tell():
    other = full()
    other["data"]["forget"]["hmac"] = "ce"
    found = compare_records([run("a"), run("b", other, key="other")])
    assert found.notes == ["a and b have keys of their own; that the records are the same is concluded from the "
                           "original's scores."]  # fmt: skip
    with pytest.raises(InputError, match=r"other records \(retain\)"):
        compare_records([run("a"), run("b", changed(other, ACCURACY, "original", 0.7), key="other")])


CLOZE = STRENGTH.replace("trained", "cloze")


def asked(own: float, original: float = 0.9, words: str = "one") -> dict:
    """A record with one more form, in words of its own."""
    plain = full()
    plain["scores"] += [score(CLOZE, role, value) for role, value in (("original", original), ("unlearned", own))]
    forms = {"forms": {"trained": 48, "cloze": 40}, "form_hmacs": {"cloze": words}}
    plain["data"]["forget"] = {**plain["data"]["forget"], "hmac": words, "own_hmac": "own", **forms}
    return plain


def bare() -> dict:
    plain = full()
    plain["data"]["forget"] = {**plain["data"]["forget"], "own_hmac": "own", "forms": {"trained": 48}}
    return plain


def test_a_form_that_one_run_lacks_is_a_setting_and_its_numbers_are_absent_there():
    for first, second, places in ((asked(0.5), bare(), ["40 records", ""]), (bare(), asked(0.5), ["", "40 records"])):
        found = compare_records([run("a", first), run("b", second)])
        assert found.settings == [("forms.cloze", places)]
        row = next(row for row in found.rows if row.label == CLOZE)
        assert [column.title for column in found.columns] == ["original", "retrained", "a", "b"]
        known = [value.known for value in row.values]
        assert known == [True, False, bool(places[0]), bool(places[1])]  # what is shared stands whoever read it
        assert math.isnan(row.differences[0])
        render_comparison(found)


@pytest.mark.parametrize("key", [KEY, "other"])
def test_a_form_in_other_words_is_a_setting_and_has_no_difference(key):
    """Under one key the HMACs tell, under two the original's scores."""
    found = compare_records([run("a", asked(0.5)), run("b", asked(0.4, 0.8, "two"), key=key)])
    assert found.settings == [("forms.cloze", ["40 records", "40 records, other words than a"])]
    row = next(row for row in found.rows if row.label == CLOZE)
    assert math.isnan(row.differences[0])
    same = compare_records([run("a", asked(0.5)), run("b", asked(0.4), key=key)])
    assert next(row for row in same.rows if row.label == CLOZE).differences == pytest.approx([-0.1])
    assert same.settings == []


def test_other_records_are_refused_whatever_their_forms():
    other = asked(0.5)
    other["data"]["forget"]["own_hmac"] = "elsewhere"
    with pytest.raises(InputError, match=r"other records \(forget\)"):
        compare_records([run("a", asked(0.5)), run("b", other)])


def test_runs_of_two_suites_are_compared_where_they_can_be():
    short = full()
    short["scores"] = [item for item in short["scores"] if item["label"] in (STRENGTH, LOSS)]
    short["gaps"], short["distributions"] = [], []
    for runs in ((run("a"), run("b", short)), (run("a", short), run("b"))):
        found = compare_records([one._replace(suite=f"suite {one.name}") for one in runs])
        (note,) = found.notes
        assert "a (suite a) and b (suite b)" in note
        row = next(row for row in found.rows if row.label == ACCURACY)
        assert [value.known for value in row.values[:2]] == [True, True]
        assert sorted(value.known for value in row.values[2:]) == [False, True]
        assert math.isnan(row.differences[0])
        assert not re.search(r"\b(nan|None|inf)\b", Page(render_comparison(found)).text)


def test_without_a_key_or_an_original_in_common_nothing_is_said_to_be_checked():
    other = changed(full(), ACCURACY, "original", 0.7)
    other["model"] = {**other["model"], "digest": "elsewhere"}
    assert "was not checked" in compare_records([run("a"), run("b", other, key=None)]).notes[0]


def test_other_lengths_are_refused():
    with pytest.raises(InputError, match="a cuts records at 512 tokens and b at 256"):
        compare_records([run("a"), run("b", max_length=256)])


WRITTEN = {"template": "own", "thinking": None, "date": "2024-07-26", "end": "<eos>", "source": "model"}


@pytest.mark.parametrize(
    "changed", [{"template": "muse"}, {"end": ""}, {"date": "2025-01-01"}, {"has_system": True, "texts": "a digest"}]
)
def test_records_that_were_written_otherwise_are_refused(changed):
    first, same, other = ({**full(), "rendering": one} for one in (WRITTEN, dict(WRITTEN), {**WRITTEN, **changed}))
    assert compare_records([run("a", first), run("b", same)]).rows
    with pytest.raises(InputError, match="a and b write their records in another way"):
        compare_records([run("a", first), run("b", other)])


def test_a_record_of_an_earlier_version_is_named():
    old, new = {**full(), "rendering": {}}, {**full(), "rendering": WRITTEN}
    assert any(
        "old was read by an earlier version" in note
        for note in compare_records([run("old", old), run("new", new)]).notes
    )
    assert not any("earlier version" in note for note in compare_records([run("a", old), run("b", old)]).notes)


def test_a_digest_of_a_runs_own_key_says_nothing_beside_another_key():
    first, other = ({**full(), "rendering": {**WRITTEN, "has_system": True, "texts": one}} for one in ("a", "b"))
    with pytest.raises(InputError, match="write their records in another way"):
        compare_records([run("a", first), run("b", other)])
    assert compare_records([run("a", first), run("b", other, key=None)]).rows


def test_one_run_and_runs_without_a_forget_set_are_refused():
    with pytest.raises(InputError, match="two or more"):
        compare_records([run("a")])
    with pytest.raises(InputError, match="no forget set"):
        compare_records([run("a"), run("b", {**full(), "data": {}})])


def test_the_page_is_safe_and_has_the_records_numbers():
    html = render_comparison(compare_records([run(EVIL), run("second_run", better())]))
    page = Page(html)
    assert "<script" not in html
    assert not {"script", "img", "link", "a"} & {tag for tag, _ in page.tags}
    assert "default-src 'none'" in html
    assert not re.search(r"\b(nan|None|inf)\b", page.text)
    table = page.tables[-1]
    row = next(row for row in table if STRENGTH in row[0])
    assert row[1:] == ["0.988 0.9 to 1", "0.11 0.05 to 0.2", "0.123 0.08 to 0.19", "0.1 0.08 to 0.19", "-0.0234"]
    assert next(row for row in table if ACCURACY in row[0])[-1] == "0"
    assert "second_run" in page.text  # the name of a folder is not put in words
    assert "training: learning rate" in page.text
    assert [text for text in page.texts if text in ("Partly removed", "Removed")] == ["Partly removed", "Removed"]


@pytest.mark.parametrize("role", ["retrained", "unlearned"])
def test_the_page_of_runs_that_lack_a_model_renders(role):
    plain = without(full(), role)
    text = Page(render_comparison(compare_records([run("a", plain), run("b", plain)]))).text
    assert ("Closer to the retrained model is better" in text) == (role == "unlearned")
    assert not re.search(r"\b(nan|None)\b", text)


def test_a_run_called_like_the_baseline_is_drawn_and_metrics_have_names():
    html = render_comparison(compare_records([run("guardrail"), run("b", better())]))
    assert "<title>guardrail: 0.123" in html  # the tip of its mark
    assert "Token accuracy on retain" in Page(html).text


def test_the_terminals_table_has_the_same_numbers():
    found = lines(compare_records([run("a"), run("b", better())]))
    assert found[:2] == ["a: partly removed", "b: removed"]
    row = next(line for line in found if line.startswith(STRENGTH))
    assert row.split()[-5:] == ["0.988", "0.11", "0.123", "0.1", "-0.0234"]
    assert next(line for line in found if line.startswith(LOSS)).split()[-3:] == ["-", "-", "-"]
    assert "  training.learning_rate: 1e-05 | 2e-05" in found


def test_folders_are_compared_and_a_page_is_written(tmp_path):
    plain, other = full(), better()
    folder(tmp_path / "one", plain)
    folder(tmp_path / "two", other)
    out = tmp_path / "compare.html"
    found = compare([tmp_path / "one", tmp_path / "two"], out)
    assert [run.name for run in found.runs] == ["one", "two"]
    assert "concluded from the original" in found.notes[0]  # each folder has a key of its own
    assert "Expunge comparison of 2 runs" in out.read_text()
    json.dumps(found.to_plain())


def test_folders_of_one_name_are_numbered(tmp_path):
    for place in ("x", "y"):
        (tmp_path / place).mkdir()
        folder(tmp_path / place / "run", full())
    found = compare([tmp_path / "x" / "run", tmp_path / "y" / "run"])
    assert [run.name for run in found.runs] == ["1 run", "2 run"]


def test_folders_that_cannot_be_compared_say_so(tmp_path):
    folder(tmp_path / "one", full())
    RunFolder.create(tmp_path / "unfinished", {"verb": "unlearn"})
    with pytest.raises(InputError, match=r"no record\.json: run its command again"):
        compare([tmp_path / "one", tmp_path / "unfinished"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="run folder"):
        compare([tmp_path / "one", tmp_path / "empty"])
    folder(tmp_path / "short", full(), max_length=8)
    with pytest.raises(InputError, match="8"):
        compare([tmp_path / "one", tmp_path / "short"], tmp_path / "never.html")
    assert not (tmp_path / "never.html").exists()
    with pytest.raises(InputError, match=r"is a folder; give the name of a file"):
        compare([tmp_path / "one", tmp_path / "one"], tmp_path)
    mine = tmp_path / "mine.html"
    mine.write_text("<title>Mine")
    for place, says in ((mine, "would be lost"), (tmp_path / "one" / "record.json", "ends in .html")):
        before = place.read_bytes()
        with pytest.raises(InputError, match=says):
            compare([tmp_path / "one", tmp_path / "one"], place)
        assert place.read_bytes() == before
    for _ in range(2):  # an earlier page is replaced
        compare([tmp_path / "one", tmp_path / "one"], tmp_path / "page.html")


def test_the_verb_prints_a_table_or_a_document(tmp_path):
    folder(tmp_path / "one", full())
    folder(tmp_path / "two", better())
    names = [str(tmp_path / "one"), str(tmp_path / "two")]
    shown = CliRunner().invoke(app, ["compare", *names, "--out", str(tmp_path / "page.html")])
    assert shown.exit_code == 0, shown.output
    assert "two: removed" in shown.output
    assert (tmp_path / "page.html").is_file()
    document = CliRunner().invoke(app, ["compare", *names, "--json"])
    found = json.loads(document.stdout)
    row = next(row for row in found["scores"] if row["label"] == STRENGTH)
    assert row["values"] == [0.98765, 0.11, 0.1234, 0.1]
    assert [one["verdict"]["word"] for one in found["runs"]] == ["partly removed", "removed"]
