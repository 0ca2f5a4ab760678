"""Rules of the house that a reader should be able to rely on."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "expunge"
FILES = sorted(SOURCE.rglob("*.py"))
FORBIDDEN = {
    r"\btorch\.load\(": "reads pickle",
    r"^\s*(import|from) pickle": "pickle runs code",
    r"^\s*(import|from) datasets\b": "writes clear text into a cache",
    r"(?<![\w.])(eval|exec)\(": "runs text as code",
    r"trust_remote_code=True": "runs code from a model folder",
}


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_nothing_forbidden(pattern):
    offenders = [path.name for path in FILES if re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)]
    assert offenders == [], FORBIDDEN[pattern]


def test_files_and_functions_can_be_read_in_one_sitting():
    long = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 350:
            long.append(f"{path.name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno > 70:
                long.append(f"{path.name}:{node.name}")
    assert long == []


def test_every_file_says_what_it_is():
    assert [str(path) for path in FILES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))] == []
