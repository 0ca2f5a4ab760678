"""Imports go down only: one floor per line, packages on one line do not import each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "expunge"
FLOORS = [
    "errors",
    "storage registry config functional",
    "data",
    "models",
    "localize metrics benchmarks",
    "methods",
    "evaluation",
    "training",
    "attacks exact",
    "reports",
    "requests executors",
    "workflows",
    "api",
    "web",
    "cli",
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}
# config builds what a registry names, and both stand on the second floor
ALLOWED = {("config", "registry")}


def imported(path: Path, root: Path) -> set[str]:
    """Packages of ``expunge`` that a file imports, anywhere in it, relative imports and ``import_module`` included."""
    found = set()
    package = ["expunge", *path.relative_to(root).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{stem}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                names = [str(node.args[0].value)]
        for name in names:
            parts = name.split(".")
            if parts[0] == "expunge" and len(parts) > 1 and parts[1] in FLOOR_OF:
                found.add(parts[1])
    return found


def violations(root: Path) -> list[str]:
    found = []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        own = relative.parts[0].removesuffix(".py")
        if own in ("__init__", "__main__"):
            continue
        for other in imported(path, root) - {own}:
            if (own, other) not in ALLOWED and FLOOR_OF[other] >= FLOOR_OF[own]:
                found.append(f"{relative} imports {other}")
    return found


def test_imports_go_down_only():
    assert violations(SOURCE) == []


def test_every_package_has_a_floor():
    names = {path.name.removesuffix(".py") for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert names - {"__init__", "__main__", "__pycache__", "py.typed"} <= FLOOR_OF.keys()


@pytest.mark.parametrize(
    "line",
    [
        "from expunge.training import loop",
        "def f():\n    from expunge.cli import main",
        "from ..models import load",
        "import expunge.workflows.audit",
        "import importlib\nimportlib.import_module('expunge.evaluation.runner')",
        "from expunge import benchmarks",
    ],
)
def test_a_planted_violation_is_found(tmp_path, line):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "planted.py").write_text(line)
    if "models" in line:
        (tmp_path / "data").mkdir()
        (tmp_path / "metrics" / "planted.py").rename(tmp_path / "data" / "planted.py")
    assert len(violations(tmp_path)) == 1
