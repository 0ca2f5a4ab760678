"""Names of everything pluggable, known without importing what they name.

A registered thing is announced by one line at the start of a line in its file::

    @methods.register("npo")

``Registry.names`` reads these lines from the source files of its packages (no import, so no torch) and adds the entry
points of installed packages (group ``expunge.<variable>``). ``Registry.get`` imports the one file that holds the name.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

from expunge.errors import InputError, UnknownNameError

Registered = TypeVar("Registered")


def suggest(name: str, known: Iterable[str]) -> str:
    """Returns a sentence that names the closest known names, and all of them when they are few."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(match) for match in close)}?" if close else ""
    listing = f" Known: {', '.join(known)}." if known else ""
    return hint + listing


class Registry:
    """Objects of one kind by name.

    Args:
        variable: name of the module variable that holds this registry; the announcing line starts with it.
        kind: what a user calls one of its objects, for messages.
        packages: packages whose files announce names.
    """

    def __init__(self, variable: str, kind: str, *packages: str) -> None:
        self.variable = variable
        self.kind = kind
        self.packages = packages
        self._objects: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """Decorator that files an object under ``name``. The name must stand as a literal at the start of a line."""

        def file(thing: Registered) -> Registered:
            if name in self._objects and self._objects[name] is not thing:
                raise InputError(f"The {self.kind} {name!r} is registered twice; give one of them another name.")
            self._objects[name] = thing
            return thing

        return file

    @cached_property
    def _modules(self) -> dict[str, str]:
        """Name to module, read from source text."""
        announced = re.compile(rf'^@?{self.variable}\.register\(\s*"([a-z0-9_]+)"', re.MULTILINE)
        return {name: dotted for dotted, text in self._sources() for name in announced.findall(text)}

    def _sources(self) -> Iterator[tuple[str, str]]:
        """Dotted name and text of every file that may announce names."""
        for package in self.packages:
            spec = importlib.util.find_spec(package)
            for folder in (spec.submodule_search_locations or []) if spec else []:
                yield from _texts(package, folder)

    @cached_property
    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        return {point.name: point for point in importlib.metadata.entry_points(group=f"expunge.{self.variable}")}

    def names(self) -> list[str]:
        """All names, sorted, without importing what they name."""
        return sorted({*self._modules, *self._entry_points, *self._objects})

    def summaries(self) -> dict[str, str]:
        """One line on each name, sorted, read from source text without importing what is named.

        It is the first line of the docstring; for a value that a call registers, its literal ``summary``, or else what
        it is made of, such as ``gradient_ascent, retain_term nll``.
        """
        points = self._entry_points.items()
        found = {name: f"from the package {point.dist.name}" for name, point in points if point.dist}
        found |= {name: _first_line(thing.__doc__) for name, thing in self._objects.items()}
        announcing = set(self._modules.values())
        for dotted, text in self._sources():
            if dotted in announcing:
                found |= _announced(text, self.variable)
        return {name: found.get(name, "") for name in self.names()}

    def get(self, name: str) -> Any:
        """Returns what is registered as ``name``.

        Raises:
            UnknownNameError: no such name; the message suggests close ones.
        """
        if name not in self._objects:
            if name in self._modules:
                importlib.import_module(self._modules[name])
            elif name in self._entry_points:
                self._objects.setdefault(name, self._entry_points[name].load())
        if name not in self._objects:
            raise UnknownNameError(f"There is no {self.kind} named {name!r}.{suggest(name, self.names())}")
        return self._objects[name]

    def name_of(self, thing: object) -> str:
        """Returns the name under which ``thing`` (an object, or an instance of a registered class) is filed."""
        for name, known in self._objects.items():
            if known is thing or known is type(thing):
                return name
        raise UnknownNameError(f"{type(thing).__name__} is not a registered {self.kind}.")


@cache
def _texts(package: str, folder: str) -> tuple[tuple[str, str], ...]:
    """Dotted name and text of every source file of a package, read once in a process."""
    root = Path(folder)
    found = []
    for path in sorted(root.rglob("*.py")):
        dotted = ".".join((package, *path.relative_to(root).with_suffix("").parts))
        found.append((dotted.removesuffix(".__init__"), path.read_text(encoding="utf-8")))
    return tuple(found)


@cache
def _announced(text: str, variable: str) -> dict[str, str]:
    """Names that a file's text announces in the registry ``variable``, each with one line on what it is."""
    found: dict[str, str] = {}
    for statement in ast.parse(text).body:
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
            names = [_name_in(decorator, variable) for decorator in statement.decorator_list]
            found |= dict.fromkeys(filter(None, names), _first_line(ast.get_docstring(statement)))
        elif (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Call)
            and (name := _name_in(statement.value.func, variable))
        ):
            found[name] = _made_of(statement.value)
    return found


def _name_in(node: ast.expr, variable: str) -> str | None:
    """Returns ``name`` when the expression is ``variable.register("name")``."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr="register")) if owner == variable:
            return _literal(node)
    return None


def _made_of(call: ast.Call) -> str:
    """Describes the value in ``methods.register("name")(Preset(method=Choice("npo"), ...))``."""
    parts = []
    for keyword in (node for node in ast.walk(call) if isinstance(node, ast.keyword)):
        match keyword:
            case ast.keyword(arg="summary", value=ast.Constant(value=str(summary))):
                return _first_line(summary)
            case ast.keyword(arg=str(axis), value=ast.Call(func=ast.Name(id="Choice")) as choice):
                parts.append(_literal(choice) if axis == "method" else f"{axis} {_literal(choice)}")
    return ", ".join(filter(None, parts))


def _literal(call: ast.Call) -> str | None:
    """First argument of a call, where it is written out as text."""
    match call.args:
        case [ast.Constant(value=str(text)), *_]:
            return text
    return None


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0].strip()


methods = Registry("methods", "method", "expunge.methods", "expunge.exact")
metrics = Registry("metrics", "metric", "expunge.metrics")
suites = Registry("suites", "suite", "expunge.evaluation")
attacks = Registry("attacks", "attack", "expunge.attacks")
forms = Registry("forms", "form of a record", "expunge.data.forms")
benchmarks = Registry("benchmarks", "benchmark", "expunge.benchmarks")
localizers = Registry("localizers", "localizer", "expunge.localize")
retain_terms = Registry("retain_terms", "retain term", "expunge.methods")
relabellers = Registry("relabellers", "relabeller", "expunge.models")
optimizers = Registry("optimizers", "optimizer", "expunge.training")
stoppers = Registry("stoppers", "stopper", "expunge.training")
parameter_choices = Registry("parameter_choices", "parameter choice", "expunge.models")
token_choices = Registry("token_choices", "token choice", "expunge.models")
combiners = Registry("combiners", "combiner", "expunge.training")
perturbations = Registry("perturbations", "perturbation", "expunge.training")
penalties = Registry("penalties", "penalty", "expunge.training")


def registries() -> dict[str, Registry]:
    """All registries by the name of their variable."""
    return {found.variable: found for found in globals().values() if isinstance(found, Registry)}
