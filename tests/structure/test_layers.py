"""Imports go down only, one floor per line, never sideways; and no module imports itself over a detour."""

from __future__ import annotations

from pathlib import Path

import pytest

import expunge
from tests.structure.sources import Module, imports, modules

FLOORS = [
    ("errors",),
    ("storage", "registry", "config", "functional"),
    ("data",),
    ("models",),
    ("localize", "metrics", "benchmarks"),
    ("methods",),
    ("evaluation",),
    ("training",),
    ("attacks", "exact"),
    ("reports",),
    ("requests", "executors"),
    ("workflows",),
    ("api",),
    ("web",),
    ("cli",),
    ("__main__",),
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
SIDEWAYS = {("config", "registry")}  # two files of one floor, not packages: settings name registered things
# The registry resolves names that a scan of source text found; the doctor tries to import other projects' libraries.
IMPORTS_BY_VARIABLE = {"expunge.registry", "expunge.cli.doctor"}


def floor_of(dotted: str) -> str:
    """Floor of ``expunge.floor.rest``. The package itself re-exports the api; its version is free to all."""
    rest = dotted.partition(".")[2].partition(".")[0].rstrip("*")
    if rest in LEVEL or rest == "__version__":
        return rest
    return "api" if dotted == "expunge" or rest in expunge.__all__ else f"no floor: {rest}"


def layer_faults(found: list[Module]) -> list[str]:
    """One line for each import that goes up, sideways or nowhere known."""
    faults = []
    for module in found:
        own = floor_of(module.name)
        for target, line in imports(module):
            if target == "*" and module.name not in IMPORTS_BY_VARIABLE:
                faults.append(f"{module.name}:{line} imports what only the run knows")
            elif target.split(".")[0] == "expunge":
                fault = _fault(own, floor_of(target))
                faults += [f"{module.name}:{line} imports {target}: {fault}"] if fault else []
    return faults


def _fault(own: str, other: str) -> str:
    if own not in LEVEL:
        return own
    if other in (own, "__version__") or (own, other) in SIDEWAYS:
        return ""
    if other not in LEVEL:
        return other
    difference = LEVEL[other] - LEVEL[own]
    return "" if difference < 0 else "sideways" if difference == 0 else "upwards"


def cycles(found: list[Module]) -> list[str]:
    """Modules that import themselves over others."""
    names = {module.name for module in found}
    graph = {module.name: {_resolve(item.target, names) for item in imports(module)} - {""} for module in found}
    return sorted(name for name in names if _reaches(graph, name))


def _resolve(target: str, names: set[str]) -> str:
    """The module that holds ``target``: itself, or the one whose attribute it is."""
    return target if target in names else target.rpartition(".")[0] if target.rpartition(".")[0] in names else ""


def _reaches(graph: dict[str, set[str]], start: str) -> bool:
    seen: set[str] = set()
    waiting = [*graph[start]]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return start in seen


def test_imports_go_down() -> None:
    found = modules()
    assert len(found) > 20
    assert layer_faults(found) == []


def test_no_module_imports_itself_over_others() -> None:
    found = modules()
    assert cycles([module for module in found if module.name != "expunge"]) == []


def plant(root: Path, **files: str) -> list[Module]:
    """Writes ``a__b="text"`` to ``expunge/a/b.py`` and returns the modules."""
    for name, text in files.items():
        path = root / "expunge" / Path(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "expunge" / "methods" / "__init__.py").parent.mkdir(exist_ok=True)
    return modules(root / "expunge")


VIOLATIONS = {
    "top": "import expunge.training.loop",
    "from package": "from expunge import training",
    "from module": "from expunge.training.loop import train",
    "function": "def f():\n    from expunge.training import loop",
    "class body": "class A:\n    import expunge.cli",
    "type checking": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from expunge.training.loop import train",
    "relative": "from ..training import loop",
    "relative package": "from .. import training",
    "import_module": "import importlib\nx = importlib.import_module('expunge.training.loop')",
    "bare import_module": "from importlib import import_module\nx = import_module('expunge.web')",
    "relative import_module": "import importlib\nx = importlib.import_module('..training', 'expunge.methods')",
    "dunder import": "x = __import__('expunge.training')",
    "f-string": "import importlib\nx = importlib.import_module(f'expunge.training.{__name__}')",
    "any f-string": "import importlib\nx = importlib.import_module(f'{__name__}.x')",
    "variable": "import importlib\nx = importlib.import_module(__name__)",
    "sideways": "from expunge.methods.other import x\nfrom expunge.attacks import y",
    "package itself": "import expunge",
    "verb of the package": "import expunge\nexpunge.unlearn(expunge.__version__)",
    "renamed package": "import expunge as e\ne.training.loop",
    "api verb": "from expunge import unlearn",
    "unknown": "from expunge.helpers import x",
}


@pytest.mark.parametrize("text", VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_planted_violations_are_found(tmp_path: Path, text: str) -> None:
    assert len(layer_faults(plant(tmp_path, methods__npo=text))) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("metrics__a", "from expunge.localize import b"),
        ("exact__a", "from expunge.attacks.b import c"),
        ("attacks__a", "from expunge.exact.b import c"),
        ("requests__a", "from expunge.executors.b import c"),
        ("storage__a", "import expunge.config"),
        ("registry", "import expunge.config"),
        ("helpers__a", "import expunge.errors"),
    ],
)
def test_neighbours_on_one_floor_do_not_import_each_other(tmp_path: Path, module: str, text: str) -> None:
    assert len(layer_faults(plant(tmp_path, **{module: text}))) == 1


def test_what_is_allowed_is_not_a_fault(tmp_path: Path) -> None:
    text = """
import torch
import expunge
from expunge import __version__
version = expunge.__version__
from expunge.errors import InputError
from expunge.methods.base import Method
from . import terms
from .terms import Term
from ..data.batch import Batch
def f():
    import importlib
    return importlib.import_module("torch"), importlib.import_module("expunge.models.load")
"""
    found = plant(tmp_path, methods__npo=text, config="from expunge.registry import Registry", cli__x="import expunge")
    assert layer_faults(found) == []


def test_planted_cycles_are_found(tmp_path: Path) -> None:
    found = plant(
        tmp_path,
        data__a="from expunge.data import b",
        data__b="def f():\n    from .c import x",
        data__c="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import expunge.data.a",
        data__d="from expunge.data.a import x",
    )
    assert cycles(found) == ["expunge.data.a", "expunge.data.b", "expunge.data.c"]
