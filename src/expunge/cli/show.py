"""``expunge show``: all that is known about one name: what it does, its settings, its paper."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expunge.cli.list import find_registry
from expunge.cli.output import document, say, table
from expunge.config import Choice, to_plain
from expunge.errors import UnknownNameError
from expunge.registry import Registry, registries, suggest

if TYPE_CHECKING:
    from expunge.metrics.faithfulness import Separation

_LINK = re.compile(r"https?://\S+[^\s.,;)]")


def show(
    name: Annotated[str, typer.Argument(help="A name that expunge list prints.")],
    kind: Annotated[
        str, typer.Option("--kind", help="What it is, such as methods, where several have this name.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One array, an object for each thing of this name.")] = False,
) -> None:
    """Show what a name does, its settings and its paper."""
    found = [describe(registry, name) for registry in _holding(name, kind)]
    if as_json:
        document(found)
        return
    for position, entry in enumerate(found):
        _print(entry, separate=position > 0)


def describe(registry: Registry, name: str) -> dict[str, Any]:
    """Returns kind, name, summary, documentation, module, paper, declared properties, rules and settings of a name."""
    thing = registry.get(name)
    is_value = not isinstance(thing, type) and not inspect.isfunction(thing)
    preset = thing if is_value else getattr(thing, "preset", None)
    budgets = getattr(thing, "paper_budget", None)
    # A preset is a value: what can be set is the method's that it is made of.
    part = getattr(thing, "method", None) if is_value else None
    owner = registry.get(part.name) if isinstance(part, Choice) else thing
    return {
        "kind": registry.variable,
        "name": name,
        "summary": registry.summaries()[name],
        "documentation": "" if is_value else inspect.getdoc(thing) or "",
        "module": owner.__module__,
        "paper": _paper(owner),
        "spec": _spec(registry, name, owner),
        "settings": _as_chosen(_settings(owner), part),
        "preset": _plain_or_text(preset),
        **_adapted(registry, preset),
        **({} if budgets is None else {"paper_budget": _plain_or_text(dict(budgets))}),
        "faithfulness": [{**one._asdict(), "fit": one.fit} for one in _measured(registry, name)],
    }


def _spec(registry: Registry, name: str, owner: Any) -> Any:
    """What a thing declares; what a method needs and takes follows from its axes and its stages too."""
    threat = getattr(owner, "threat", None)
    declared = _plain_or_text(getattr(owner, "spec", None) if threat is None else threat._asdict())
    if registry.variable != "methods" or not isinstance(declared, dict):
        return declared
    # Imported here, since it loads torch, which other names do not need.
    from expunge.methods.recipe import resolve

    recipe = resolve(name)
    return {**declared, "needs": list(recipe.needs()), "memory_factor": recipe.memory_factor()}


def _adapted(registry: Registry, preset: Any) -> dict[str, dict[str, str]]:
    """How a method's learning rate and epochs follow from the model and the forget set, where they do."""
    if registry.variable != "methods" or preset is None:
        return {}
    # Imported here, since it loads torch, which other names do not need.
    from expunge.methods.adapt import rules_of

    rules = rules_of(preset)
    return {"adapted": rules} if rules else {}


def _as_chosen(settings: list[dict[str, Any]], part: Any) -> list[dict[str, Any]]:
    """Settings with the defaults that a preset gives the method it is made of."""
    given = part.settings if isinstance(part, Choice) else {}
    return [
        {**one, "default": _plain_or_text(given[one["name"]]), "required": False} if one["name"] in given else one
        for one in settings
    ]


def _measured(registry: Registry, name: str) -> list[Separation]:
    """How well a metric tells models that know from models that do not, as measured."""
    if registry.variable != "metrics":
        return []
    # Imported here, since it loads numpy, which other names do not need.
    from expunge.metrics.faithfulness import of_metric

    return of_metric(name)


def _holding(name: str, kind: str) -> list[Registry]:
    """Registries that have this name.

    Raises:
        UnknownNameError: none has it.
    """
    candidates = [find_registry(kind)] if kind else list(registries().values())
    found = [registry for registry in candidates if name in registry.names()]
    if not found:
        known = {known for registry in candidates for known in registry.names()}
        where = f" among the {kind}" if kind else ""
        raise UnknownNameError(f"Nothing is named {name!r}{where}.{suggest(name, known)}")
    return found


def _settings(thing: Any) -> list[dict[str, Any]]:
    """Settings of a dataclass, or values of a registered instance: name, type, default and what is written about it."""
    if not dataclasses.is_dataclass(thing):
        return []
    comments = _comments(thing if isinstance(thing, type) else type(thing))
    return [
        {
            "name": field.name,
            "type": field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type)),
            "default": _default(field) if isinstance(thing, type) else _plain_or_text(getattr(thing, field.name)),
            "required": isinstance(thing, type) and _is_required(field),
            "help": comments.get(field.name, ""),
        }
        for field in dataclasses.fields(thing)
        if field.init
    ]


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return _plain_or_text(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return _plain_or_text(field.default_factory())
    return None


def _comments(cls: type) -> dict[str, str]:
    """What is written about each field: in ``Attributes:`` of the docstring, or in a comment on its line."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _line_comments(base)
            found |= dict(re.findall(r"^\s+(\w+): (\S.*)$", inspect.getdoc(base) or "", re.MULTILINE))
    return found


@cache
def _line_comments(cls: type) -> dict[str, str]:
    try:
        source = inspect.cleandoc("\n" + inspect.getsource(cls))
        [statement] = ast.parse(source).body
    except (OSError, TypeError, ValueError, SyntaxError):  # made at run time, without source
        return {}
    lines = source.splitlines()
    found = {}
    for node in getattr(statement, "body", []):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            rest = lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset or 0 :]
            found[node.target.id] = rest.partition("#")[2].strip()
    return {name: text for name, text in found.items() if text}


def _paper(thing: Any) -> str:
    """The paper that the thing names itself, or else the first line of its module where that has a link."""
    spec = getattr(thing, "spec", None) or getattr(thing, "threat", None)
    own = getattr(thing, "paper", "") or getattr(spec, "paper", "")
    if isinstance(own, str) and own:
        return own
    module = sys.modules.get(getattr(thing, "__module__", ""))
    heading = (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ") if module else ""
    return heading if _LINK.search(heading) else ""


def _plain_or_text(value: Any) -> Any:
    """Plain data; a tuple or set of settings as a list, and anything else as text."""
    plain = to_plain(value)
    if isinstance(plain, (frozenset, set)):
        return sorted(str(item) for item in plain)
    if isinstance(plain, dict):
        return {key: _plain_or_text(item) for key, item in plain.items()}
    if isinstance(plain, list):
        return [_plain_or_text(item) for item in plain]
    return plain if plain is None or isinstance(plain, (bool, int, float, str)) else str(plain)


def _faithfulness_line(item: dict[str, Any]) -> str:
    pools = f"{item['knows']} x {item['lacks']} models"
    return f"{item['area']:.2f} (at least {item['low']:.2f}, {pools}){'' if item['fit'] else ' unfit'}"


def _print(entry: dict[str, Any], *, separate: bool) -> None:
    if separate:
        say("")
    say(f"{entry['name']} ({entry['kind']}, {entry['module']})\n")
    say(entry["documentation"] or entry["summary"])
    if entry["paper"]:
        say(f"\nPaper: {entry['paper']}")
    parts = (
        ("Declares", "spec"),
        ("Preset", "preset"),
        ("Unless set", "adapted"),
        ("Budget paper changes", "paper_budget"),
    )
    for heading, values in ((heading, entry.get(key)) for heading, key in parts):
        if isinstance(values, dict):
            say(f"\n{heading}:")
            table(
                (f"  {name}", _short(value))
                for name, value in values.items()
                if name != "paper" and value not in (None, "", {}, [])
            )
    if entry["faithfulness"]:
        say("\nFaithfulness: how often it tells a model that knows the forget set from one that never saw it")
        table((f"  {item['label']}", _faithfulness_line(item)) for item in entry["faithfulness"])
    if entry["settings"]:
        say("\nSettings (--set name=value):")
        table((f"  {item['name']}", _setting_line(item)) for item in entry["settings"])


def _short(value: Any) -> str:
    """A value in one line: ``kl(temperature=2)`` for an axis, ``name value, name value`` for other mappings."""
    match value:
        case {"name": str(name), "settings": dict(settings)}:
            return f"{name}({', '.join(f'{key}={item}' for key, item in settings.items())})" if settings else name
        case dict():
            return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
        case list():
            return ", ".join(_short(item) for item in value)
    return str(value)


def _setting_line(item: dict[str, Any]) -> str:
    start = f"{item['type']}, required" if item["required"] else f"{item['type']} = {item['default']!r}"
    return f"{start}; {item['help']}" if item["help"] else start
