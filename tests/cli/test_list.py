"""``expunge list``."""

from __future__ import annotations

import json

import pytest

from expunge.cli import main
from expunge.registry import registries

KINDS = [
    *("methods", "metrics", "attacks", "benchmarks", "localizers"),
    *("suites", "retain_terms", "relabellers", "optimizers", "stoppers"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_json_is_one_array_of_names_and_summaries(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    assert main(["list", kind, "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert [entry["name"] for entry in found] == registries()[kind].names()
    assert all(set(entry) == {"name", "summary"} and "\n" not in entry["summary"] for entry in found)
    assert err == ""


def test_text_has_one_entry_for_each_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "retain_terms"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == registries()["retain_terms"].names()
    assert any("Nothing holds the model." in line for line in lines)


def test_both_spellings(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list", "retain_terms", "--json"])
    first = capsys.readouterr().out
    assert main(["list", "Retain-Terms", "--json"]) == 0
    assert capsys.readouterr().out == first


def test_an_unknown_kind_is_wrong_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "metric"]) == 2
    assert "Did you mean 'metrics'" in capsys.readouterr().err
