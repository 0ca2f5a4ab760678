"""``expunge list``: the names of everything pluggable, read from source text without loading torch."""

from __future__ import annotations

from typing import Annotated

import typer

from expunge.cli.output import document, table
from expunge.errors import UnknownNameError
from expunge.registry import Registry, registries, suggest


def find_registry(kind: str) -> Registry:
    """Returns the registry that a user calls ``kind``: its plural, in snake_case or kebab-case.

    Raises:
        UnknownNameError: there is no such registry.
    """
    known = registries()
    name = kind.replace("-", "_").lower()
    if name not in known:
        raise UnknownNameError(f"There is nothing called {kind!r} to list.{suggest(name, known)}")
    return known[name]


def list_names(
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(sorted(registries()))}.")],
    as_json: Annotated[bool, typer.Option("--json", help='One array of objects with "name" and "summary".')] = False,
) -> None:
    """List what there is of a kind, with one line on each."""
    summaries = find_registry(kind).summaries()
    if as_json:
        document([{"name": name, "summary": summary} for name, summary in summaries.items()])
    else:
        table(summaries.items())
