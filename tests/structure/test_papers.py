"""Every method and every attack has its line in docs/papers.md, and its papers are in docs/references.bib."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from expunge.methods.recipe import resolve
from expunge.registry import attacks, methods

DOCS = Path(__file__).parents[2] / "docs"
LINK = re.compile(r"https://(?:arxiv\.org/abs|doi\.org)/[\w./()-]+\w")


def entries() -> list[dict[str, str]]:
    """Fields of each entry, its key among them."""
    text = (DOCS / "references.bib").read_text(encoding="utf-8")
    found = []
    for key, body in re.findall(r"@\w+\{([^,]+),\n(.*?)\n\}", text, flags=re.DOTALL):
        found.append({"key": key, **dict(re.findall(r"(\w+)\s*=\s*\{(.*)\}", body))})
    return found


def assert_told(name: str, paper: str) -> None:
    papers = (DOCS / "papers.md").read_text(encoding="utf-8")
    assert any(line.startswith("|") and f"`{name}`" in line.split("|")[1] for line in papers.splitlines())
    assert set(LINK.findall(paper)) <= {entry["url"] for entry in entries()}


@pytest.mark.parametrize("name", methods.names())
def test_every_method_has_its_line_and_its_papers(name):
    assert_told(name, resolve(name).method.spec.paper)


@pytest.mark.parametrize("name", attacks.names())
def test_every_attack_has_its_line_and_its_papers(name):
    assert_told(name, attacks.get(name).threat.paper)


def test_entries_are_whole_and_named_once():
    found = entries()
    assert len(found) > 40
    assert len({entry["key"] for entry in found}) == len({entry["url"] for entry in found}) == len(found)
    for entry in found:
        assert {"title", "author", "year", "url"} <= set(entry), entry["key"]
