"""The same numbers as CSV and as LaTeX, and text that LaTeX takes for text."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from expunge.reports.record import from_plain
from expunge.reports.table import escape_latex, to_csv, to_latex
from tests.reports.records import EVIL, QUALITY, STRENGTH, empty, full, score


def lines(plain: dict) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(from_plain(plain)))))


def same(cell: str, value: float | None) -> bool:
    if value is None:
        return cell == ""
    return math.isnan(float(cell)) if math.isnan(value) else float(cell) == value


def test_csv_has_every_digit_of_every_score():
    plain = full()
    plain["scores"].append(score("third(split=forget)", "original", 1 / 3, 0.1 + 0.2))
    found = lines(plain)
    assert len(found) == len(plain["scores"])
    gaps = {(gap["label"], gap["role"]): gap for gap in plain["gaps"]}
    for line, item in zip(found, plain["scores"], strict=True):
        assert (line["label"], line["role"]) == (item["label"], item["role"])
        assert all(same(line[name], item[name]) for name in ("value", "low", "high", "n", "records"))
        assert (line["unit"], line["direction"]) == (item["unit"], item["direction"])
        assert json.loads(line["details"]) == item["details"]
        gap = gaps.get((item["label"], item["role"]), {"value": None, "low": None, "high": None})
        assert all(same(line[column], gap[name]) for column, name in
                   (("gap", "value"), ("gap_low", "low"), ("gap_high", "high")))  # fmt: skip


def test_csv_keeps_hostile_names_whole():
    plain = full()
    plain["scores"] = [score(f'{EVIL},"\n', "original", 0.5)]
    assert lines(plain)[0]["label"] == f'{EVIL},"\n'


def test_latex_has_the_records_numbers_in_the_records_columns():
    rows = to_latex(from_plain(full())).splitlines()
    assert rows[1] == r"\begin{tabular}{lrrrr}"
    assert rows[3] == r"Metric & original & retrained & unlearned & $n$ \\"
    found = {row.split(" & ")[0]: row.removesuffix(r" \\").split(" & ")[1:] for row in rows if " & " in row}
    assert found[escape_latex(STRENGTH)] == ["0.988 [0.9, 1]", "0.11 [0.05, 0.2]", "0.123 [0.08, 0.19]", "12"]
    assert found[escape_latex(QUALITY)] == ["--", "--", r"$1.8 \cdot 10^{-21}$", "12"]
    assert len(found) == 1 + len({item["label"] for item in full()["scores"]})


def test_latex_writes_negative_numbers_as_such():
    plain = full()
    plain["scores"] = [score("a", "original", -0.5, -1.0, -1e-9)]
    assert r"$-0.5$ [$-1$, $-1 \cdot 10^{-9}$]" in to_latex(from_plain(plain))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b", r"a\_b"),
        ("50% & #1 {x} $2", r"50\% \& \#1 \{x\} \$2"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("~^<>", r"\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}"),
        ("two\nlines\r\tand % more", r"two lines and \% more"),
    ],
)
def test_latex_escapes_by_hand(text, expected):
    assert escape_latex(text) == expected


def test_latex_of_hostile_models_and_metrics_has_no_command_of_theirs():
    plain = full()
    plain["columns"] = ["\\end{tabular}"]
    plain["scores"] = [score("x\\\\\n\\input{secret} & y", "\\end{tabular}", 0.5)]
    table = to_latex(from_plain(plain))
    assert table.count(r"\end{tabular}") == 1
    assert "\\input" not in table
    assert len(table.splitlines()) == 8


def test_a_record_without_scores_is_a_table_without_rows():
    assert len(to_csv(from_plain(empty())).splitlines()) == 1
    assert r"\bottomrule" in to_latex(from_plain(empty()))
