"""The report: one file, no script, everything escaped, numbers as measured."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from expunge.errors import InputError
from expunge.reports.record import from_plain, read_record, write_record
from expunge.reports.render import render
from expunge.reports.svg import Dot, Scale, dot_chart, line_chart, ticks

EVIL = '<script>alert("x")</script>\'"&'


def score(label: str, role: str, value: float | None, low=None, high=None, **details: float) -> dict:
    return {
        "label": label,
        "role": role,
        "value": value,
        "low": low,
        "high": high,
        "n": 12,
        "records": 48,
        "unit": "",
        "direction": "closer",
        "details": details,
    }


def plain(text: str = "npo") -> dict:
    return {
        "schema_version": 1,
        "expunge": "0.1",
        "finished": "2026-01-01T00:00:00+00:00",
        "model": {"name": text, "digest": "ab", "dtype": "float32", "parameters": 1234567},
        "method": {
            "name": text,
            "guarantee": "approximate",
            "artefact": "weights",
            "reversible": False,
            "access": "weights",
            "paper": text,
            "settings": {"beta": 0.1, "note": text},
        },
        "axes": {"retain_term": {"name": "nll", "settings": {}}, "forget_weight": 1.0},
        "training": {"learning_rate": 1e-05},
        "data": {"forget": {"records": 48, "subjects": 12, "hmac": "cd"}},
        "run": {
            "steps": 2,
            "reason": text,
            "seconds": 1.5,
            "curves": [{"step": 1, "terms": {"forget": 2.0}}, {"step": 2, "terms": {"forget": float("nan")}}],
        },
        "result": {"digest": "ef", "folder": "model"},
        "columns": ["original", "retrained", "unlearned"],
        "scores": [
            score("extraction_strength(split=forget, form=trained)", "original", 0.98765, 0.9, 1.0),
            score("extraction_strength(split=forget, form=trained)", "unlearned", 0.1234),
            score("mia_loss(split=forget, against=holdout)", "unlearned", None),
            score("forget_quality(split=forget)", "unlearned", 1.8e-21, D=0.3967),
        ],
        "gaps": [],
        "omitted": [{"label": "x", "role": "original", "reason": text}],
        "verdict": {"word": "not verifiable", "reasons": [text]},
        "thresholds": {"margin": 0.05},
        "limits": [text],
        "environment": {"python": text},
    }


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_nothing_runs_and_nothing_is_fetched():
    page = render(from_plain(plain(EVIL)))
    tags = Tags()
    tags.feed(page)
    names = [name for name, _ in tags.found]
    assert "script" not in names
    assert not {"img", "link", "iframe", "object"} & set(names)
    assert not any(key.startswith("on") for _, attributes in tags.found for key in attributes)
    policy = next(a["content"] for name, a in tags.found if name == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_numbers_are_shown_as_measured():
    page = render(from_plain(plain()))
    for text in (
        "0.988",
        "0.9 to 1",
        "0.123",
        "not measured",
        "1.8e-21",
        "D 0.397",
        "1,234,567",
        "12 subjects, 48 records",
    ):
        assert text in page, text
    assert page.index("Not verifiable") < page.index("Settings")


def test_forms_that_were_not_tested_are_named():
    forms = {"tested": ["trained"], "untested": [{"form": "cloze", "reason": "<b>why"}], "paraphraser": None}
    assert "not tested: cloze (&lt;b&gt;why)." in render(from_plain({**plain(), "forms": forms}))
    assert "not tested" not in render(from_plain(plain()))


def test_record_survives_the_disk(tmp_path):
    write_record(tmp_path / "record.json", from_plain(plain()))
    assert read_record(tmp_path / "record.json").scores == plain()["scores"]


def test_another_schema_version_is_refused():
    with pytest.raises(InputError, match="schema version 2"):
        from_plain({**plain(), "schema_version": 2})


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.5, 1]), (0, 10, [0, 5, 10]), (0, 0.3, [0, 0.1, 0.2, 0.3]), (-1.2, 3, [0, 2]), (2, 2, [2])],
)
def test_ticks_by_hand(low, high, expected):
    assert ticks(low, high, 4 if len(expected) > 2 else 5) == pytest.approx(expected)


def test_scale_by_hand():
    assert Scale(0, 10, 100, 200)(2.5) == 125
    assert Scale(3, 3, 100, 200)(3) == 150


def test_charts_are_well_formed_and_escaped():
    dots = [(EVIL, [Dot("original", 0.25, 0.2, 0.3), Dot("unlearned", float("nan"), None, None)])]
    for chart in (
        dot_chart(dots, ["original", "unlearned"], title=EVIL),
        line_chart({"a": [(1, 0.5), (2, float("nan")), (3, 1.0)]}, title=EVIL, x_label=EVIL),
    ):
        root = ElementTree.fromstring(chart)
        assert root.get("aria-label") == EVIL
    assert len(ElementTree.fromstring(dot_chart(dots, ["original", "unlearned"], title="")).findall("circle")) == 1


def test_nothing_to_draw_draws_nothing():
    assert line_chart({}, title="", x_label="") == ""
