"""The card of a notebook: the record's numbers, styles of its own, nothing that runs."""

from __future__ import annotations

import json

import pytest

from expunge.reports.notebook import RunReport
from expunge.storage.run import RunFolder
from expunge.workflows.finished import Finished
from tests.reports.records import EVIL, STRENGTH, Page, empty, full, without
from tests.reports.test_report import PARTIAL


def test_a_report_is_the_plain_record():
    report = RunReport(full())
    assert report["verdict"]["word"] == "partly removed"
    assert json.loads(json.dumps(report)).keys() == full().keys()


def test_the_card_has_verdict_and_every_score():
    page = Page(RunReport(full())._repr_html_())
    assert page.texts[:2] == [
        "Partly removed",
        "The model knows less than before, but can still be told from one that never saw the records.",
    ]
    rows = page.tables[0]
    assert rows[0] == ["metric", "original", "retrained", "unlearned", "n"]
    assert len(rows) == 1 + len({item["label"] for item in full()["scores"]})
    assert rows[1][:4] == ["Extraction strength", "0.988 (0.9 to 1)", "0.11 (0.05 to 0.2)", "0.123 (0.08 to 0.19)"]
    assert STRENGTH not in page.text


@pytest.mark.parametrize("name", PARTIAL)
def test_the_card_of_a_partial_record_renders(name):
    html = RunReport(PARTIAL[name])._repr_html_()
    page = Page(html)
    assert not {"script", "style", "img", "link", "a"} & {tag for tag, _ in page.tags}
    assert "nan" not in page.text.split()
    assert "None" not in page.text.split()


def test_hostile_names_stay_text():
    html = RunReport(full(EVIL))._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_a_finished_run_shows_its_record_or_nothing(tmp_path):
    run = RunFolder.create(tmp_path / "run", {"verb": "unlearn"})
    assert Finished(run, RunReport(empty()))._repr_html_() == RunReport(empty())._repr_html_()
    assert Finished(run, None)._repr_html_() is None
    assert "retrained" not in Page(RunReport(without(full(), "retrained"))._repr_html_()).tables[0][0]
