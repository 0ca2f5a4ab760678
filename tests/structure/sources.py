"""The project's own files, for tests about how they are written."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "expunge"


class Module(NamedTuple):
    """A source file: dotted name, whether it is a package's ``__init__``, its text and its syntax tree."""

    name: str
    is_package: bool
    path: Path
    text: str
    tree: ast.Module


class Import(NamedTuple):
    """What a line imports, as a dotted name; ``*`` stands for what cannot be told from the text."""

    target: str
    line: int


@cache
def modules(source: Path = SOURCE) -> tuple[Module, ...]:
    """All modules of the package in the folder ``source``, parsed once."""
    return tuple(_module(path, source) for path in sorted(source.rglob("*.py")))


def _module(path: Path, source: Path) -> Module:
    parts = path.relative_to(source.parent).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    text = path.read_text(encoding="utf-8")
    return Module(".".join(parts[:-1] if is_package else parts), is_package, path, text, ast.parse(text))


@cache
def imports(module: Module) -> tuple[Import, ...]:
    """Everything a module imports: at the top, in functions, for type checking, by name at run time."""
    return tuple(_imports(module))


def _imports(module: Module) -> Iterator[Import]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from (Import(target, node.lineno) for target in _used(module, alias))
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node.level, node.module or "")
            yield from (Import(f"{base}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            yield Import(_named(module, node), node.lineno)


def _used(module: Module, alias: ast.alias) -> list[str]:
    """What ``import a.b`` imports; of the package itself, which is lazy, only the attributes that the module uses."""
    if alias.name != "expunge":
        return [alias.name]
    bound = alias.asname or "expunge"
    found = {
        f"expunge.{node.attr}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == bound
    }
    return sorted(found) or ["expunge"]


def _absolute(module: Module, level: int, name: str) -> str:
    if not level:
        return name
    parts = module.name.split(".")
    above = parts[: len(parts) - level + module.is_package]
    return ".".join([*above, name] if name else above)


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def _named(module: Module, call: ast.Call) -> str:
    """The name that a call imports; of an f-string its literal start."""
    match call.args:
        case [ast.Constant(value=str(name)), *_]:
            relative = name.lstrip(".")
            return _absolute(module, len(name) - len(relative), relative)
        case [ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]), *_]:
            return f"{start}*"
    return "*"
