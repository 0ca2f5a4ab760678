"""What decides the numbers of an lm_eval task but the model, as one digest that is the same in every process."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

from expunge.storage.digests import DataKey

ADDRESS = " at 0x"  # in a repr: another one in each process


def documents_digest(loaded: Any, key: DataKey, folders: Sequence[Path] = ()) -> str:
    """HMAC over everything that decides a task's numbers but the model.

    Args:
        loaded: what lm_eval has loaded: settings, with the functions in them, and documents.
        key: of the HMAC.
        folders: of task files; functions in them call what lies beside them.
    """
    parts = [_plain(loaded.get("group_map", {})), *_sources(folders)]
    for name, task in loaded["tasks"].items():
        settings = task.config.to_dict(keep_callable=True)
        parts += [name, _plain(type(task)), _plain(_without_metadata(settings))]
        parts += [_plain(doc) for doc in task.eval_docs]
        if task.get_config("num_fewshot"):
            parts += ["shots", *(_plain(doc) for doc in task.fewshot_docs())]
    for group in loaded.get("groups", {}).values():
        parts.append(_plain(_without_metadata(group.to_dict())))
    return key.hmac_many(parts)


def _without_metadata(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata say where things lie; what is made of them is in the documents."""
    return {what: value for what, value in settings.items() if what != "metadata"}


def _sources(folders: Sequence[Path]) -> list[str]:
    """Names and text of all code and all settings below folders, wherever the folders lie."""
    parts = []
    for folder in folders:
        found = [path for path in folder.rglob("*") if path.is_file() and path.name.endswith((".py", "yaml", ".yml"))]
        for path in sorted(found):
            parts += [path.relative_to(folder).as_posix(), path.read_bytes().hex()]
    return parts


def _plain(value: Any) -> str:
    return json.dumps(_canonical(value, ()), sort_keys=True)


def _canonical(value: Any, above: tuple[int, ...]) -> Any:
    """Plain data that says what a value is and holds no address; callables by their source.

    Args:
        value: anything in a configuration or a document.
        above: what it lies in, by identity: a function may refer to itself.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if id(value) in above:
        return "itself"
    inner = functools.partial(_canonical, above=(*above, id(value)))
    if isinstance(value, Mapping):
        return {_key(one): inner(other) for one, other in value.items()}
    if isinstance(value, (list, tuple)):
        return [inner(one) for one in value]
    if isinstance(value, (set, frozenset)):
        return sorted((inner(one) for one in value), key=json.dumps)
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        return inner(value.tolist())
    return _of_object(value, inner)


def _key(value: Any) -> str:
    return value if isinstance(value, str) else _plain(value)


def _of_object(value: Any, inner: Callable[[Any], Any]) -> Any:
    """A callable by source and by all it was given; anything else by its repr, or by what it holds."""
    if isinstance(value, functools.partial):
        return ["partial", inner(value.func), inner(value.args), inner(value.keywords)]
    if isinstance(value, MethodType):
        return ["method", inner(value.__func__), inner(value.__self__)]
    if isinstance(value, FunctionType):
        held = [_content(cell) for cell in value.__closure__ or ()]
        given = [inner(value.__defaults__), inner(value.__kwdefaults__), inner(held)]
        return ["function", value.__qualname__, inner(value.__code__), *given]
    if isinstance(value, CodeType):
        return _of_code(value, inner)
    if isinstance(value, ModuleType):
        return ["module", value.__name__]
    if isinstance(value, type):
        return ["class", value.__qualname__, _source(value)]
    if callable(value) or ADDRESS in repr(value):
        return ["object", inner(type(value)), inner(getattr(value, "__dict__", {})), getattr(value, "__qualname__", "")]
    return repr(value)


def _of_code(code: CodeType, inner: Callable[[Any], Any]) -> list[Any]:
    """What a function does, and the file that it stands in, since it calls what else is in there."""
    # Instructions too: two lambdas may stand on one line, and not every function has a file.
    return [_source(code), code.co_code.hex(), list(code.co_names), [inner(one) for one in code.co_consts]]


def _source(value: Any) -> str:
    """Text of the file that a class or a function stands in; empty for those that have none."""
    try:
        path = inspect.getsourcefile(value)
        return "" if path is None else Path(path).read_text(encoding="utf-8", errors="replace")
    except (TypeError, OSError):
        return ""


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None
