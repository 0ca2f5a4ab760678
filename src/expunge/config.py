"""Settings: frozen dataclass to and from JSON, YAML and ``--set key=value``. An option is said once, as a field."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from numbers import Real
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from expunge.errors import ExpungeError, InputError, UnknownNameError
from expunge.registry import Registry, suggest

Settings = TypeVar("Settings")
_NUMBERS = (int, float)
_TRUTHS = ("true", "false")


@dataclass(frozen=True)
class Choice:
    """The value of one axis: a registered name and its settings."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: str | Mapping[str, Any] | Choice) -> Choice:
        """Accepts ``"kl"``, ``{"name": "kl", "settings": {...}}`` or a ``Choice``."""
        if isinstance(value, Choice):
            return value
        if isinstance(value, str):
            return cls(value)
        return build(cls, value, where="axis value")

    def create(self, registry: Registry) -> Any:
        """Returns an instance of what ``registry`` holds under this name, built from these settings."""
        return build(registry.get(self.name), self.settings, where=f"{registry.kind} {self.name!r}")


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def field_names(cls: Any) -> list[str]:
    """Names of the settings a dataclass takes."""
    return [item.name for item in dataclasses.fields(cls) if item.init]


def build(cls: type[Settings], values: Mapping[str, Any], *, where: str, finite: bool = True) -> Settings:
    """Builds a settings dataclass from plain values, checking names and types.

    Args:
        cls: a dataclass.
        values: field name to value; text is converted (``"1e-5"`` to a float), and a number to text where only text can
            be set, so that ``layer=2`` needs no quotes.
        where: what is being set, for the message.
        finite: whether numbers must be finite; those of a result need not be, and its numbers are never made text.

    Raises:
        UnknownNameError: a name that ``cls``, or a dataclass inside it, does not have.
        InputError: a value of the wrong type or outside its range.
        ExpungeError: whatever ``__post_init__`` raised.
    """
    _check_names(cls, values, where)
    _check_kinds(cls, values, where=where, finite=finite)
    given = _with_texts(cls, values) if finite else dict(values)
    try:
        return cast("Settings", _adapter(cast("Any", cls)).validate_python(given))
    except ValidationError as error:
        for item in error.errors(include_input=False, include_url=False):
            own = item.get("ctx", {}).get("error")
            if isinstance(own, ExpungeError):  # pydantic wraps what a dataclass says about itself
                raise own from None
        # Messages only: pydantic's own text would echo the value it was handed.
        reasons = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or where}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise InputError(f"{where} cannot be set so: {reasons}.") from None


def _check_names(cls: Any, values: Any, where: str) -> None:
    """Refuses names that a dataclass does not have, at any depth; pydantic drops those below the top in silence."""
    if not isinstance(values, Mapping):
        raise InputError(f"{where} takes settings by name, not {type(values).__name__}.")
    known = field_names(cls)
    for name, value in values.items():
        if name not in known:
            raise UnknownNameError(f"{where} has no setting {name!r}.{suggest(str(name), known)}")
        if isinstance(value, Mapping):
            hint = get_type_hints(cls)[name]
            for inner in filter(dataclasses.is_dataclass, get_args(hint) or (hint,)):
                _check_names(inner, value, f"{where}, {name}")


def _check_kinds(cls: Any, values: Mapping[str, Any], *, where: str, finite: bool) -> None:
    """Refuses what pydantic converts without a word: ``True`` to 1, 1 to ``True``, and NaN and infinity as numbers."""
    hints = _hints(cls)
    for name, value in values.items():
        if name in hints:
            _check_kind(hints[name], value, f"{where}: {name}", finite=finite)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _check_kind(hint: Any, value: Any, name: str, *, finite: bool) -> None:
    arms = _arms(hint)
    if Any in arms or object in arms:
        return
    if isinstance(value, bool | Real | str):
        _check_plain(arms, value, name, finite=finite)
    elif isinstance(value, Mapping):
        _check_mapping(arms, value, name, finite=finite)
    elif isinstance(value, list | tuple):
        # Of a fixed tuple every item may have its own type; all of them together decide nothing wrongly.
        inner = [item for arm in arms for item in get_args(arm) if item is not Ellipsis]
        for place, item in enumerate(value):
            if inner:
                _check_kind(Union[tuple(inner)], item, f"{name}[{place}]", finite=finite)  # noqa: UP007 - made here


def _check_mapping(arms: tuple[Any, ...], value: Mapping[Any, Any], name: str, *, finite: bool) -> None:
    for arm in arms:
        if dataclasses.is_dataclass(arm):
            return _check_kinds(arm, value, where=name, finite=finite)
        if len(get_args(arm)) == 2 and isinstance(get_origin(arm), type) and issubclass(get_origin(arm), Mapping):
            for key, item in value.items():
                _check_kind(get_args(arm)[1], item, f"{name}.{key}", finite=finite)
            return None
    return None


def _check_plain(arms: tuple[Any, ...], value: Any, name: str, *, finite: bool) -> None:
    numeric = any(arm in _NUMBERS for arm in arms)
    if isinstance(value, bool):
        if bool not in arms and (numeric or _named(arms, _NUMBERS)):
            raise InputError(f"{name} needs a number, not {str(value).lower()}.")
    elif bool in arms and not numeric:
        if str not in arms and str(value).strip().lower() not in _TRUTHS:
            raise InputError(f"{name} needs true or false, not {'text' if isinstance(value, str) else 'a number'}.")
    elif finite and float in arms and not (isinstance(value, str) and str in arms) and not _is_finite(value):
        raise InputError(f"{name} needs a finite number, not NaN or infinity.")


def _with_texts(cls: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with numbers written out where a setting is text, at any depth."""
    hints = _hints(cls)
    return {name: _as_text(hints[name], value) if name in hints else value for name, value in values.items()}


def _as_text(hint: Any, value: Any) -> Any:
    arms = _arms(hint)
    if isinstance(value, Mapping):
        inner = next((arm for arm in arms if dataclasses.is_dataclass(arm)), None)
        return value if inner is None else _with_texts(inner, value)
    if isinstance(value, list | tuple):
        items = tuple(item for arm in arms for item in get_args(arm) if item is not Ellipsis)
        return [_as_text(Union[items], item) for item in value] if items else value  # noqa: UP007 - made here
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
    return str(value) if is_number and str in arms and not set(arms) & {int, float, Any, object} else value


def _named(arms: tuple[Any, ...], kinds: tuple[type, ...]) -> bool:
    """Whether a ``Literal`` lists numbers and no truth value, which would pass for 0 or 1."""
    listed = [item for arm in arms if get_origin(arm) is Literal for item in get_args(arm)]
    return any(isinstance(item, kinds) for item in listed) and not any(isinstance(item, bool) for item in listed)


def _is_finite(value: Any) -> bool:
    """Whether text or a number is finite; pydantic judges text that is not a number."""
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False
    except ValueError:
        return True


def _arms(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a type."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(arm for item in get_args(hint) for arm in _arms(item))
    return (hint,)


def to_plain(value: Any) -> Any:
    """Returns JSON-ready plain data for a (nested) settings dataclass."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_plain(getattr(value, item.name)) for item in dataclasses.fields(value) if item.init}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


class _Loader(yaml.SafeLoader):
    """YAML with the plain values of version 1.2: ``no`` and ``1:30`` stay text, ``1e-5`` is a number, no dates."""


_Loader.yaml_implicit_resolvers = {}  # those of version 1.1
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:[tT]rue|TRUE|[fF]alse|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9]*\.[0-9]+|[0-9]+\.)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> Any:
    """Reads YAML (version 1.2's plain values, no tags that make objects) or JSON into plain data.

    Raises:
        ValueError: it is neither. The text is not shown.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - derived from SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ValueError("not valid YAML") from None


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """Reads ``["beta=0.5", "training.epochs=3"]`` into nested plain data.

    Values are read as YAML; hyphens in keys count as underscores; of two values for one key the later counts.

    Raises:
        InputError: not ``key=value``, a value that is not YAML, or a key given both a value and settings of its own.
    """
    result: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        parts = key.strip().replace("-", "_").split(".")
        if not separator or not all(parts):
            raise InputError(f"--set takes key=value, not {key!r}; for example --set beta=0.1")
        _assign(result, parts, _value(key, text))
    return result


def _value(key: str, text: str) -> Any:
    try:
        return parse_yaml(text)
    except ValueError:
        raise InputError(f"The value of --set {key} is not valid YAML; put text with signs in it in quotes.") from None


def _assign(result: dict[str, Any], parts: list[str], value: Any) -> None:
    """Sets ``result[a][b] = value`` for parts ``[a, b]``."""
    *above, last = parts
    node = result
    for part in above:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise InputError(f"--set {'.'.join(parts)}: {part!r} was already given a plain value.")
    if isinstance(node.get(last), dict) and not isinstance(value, dict):
        raise InputError(f"--set {'.'.join(parts)}: settings of {last!r} were already given.")
    node[last] = value


def read_settings_file(path: Path) -> dict[str, Any]:
    """Reads a YAML or JSON settings file into plain data.

    Raises:
        InputError: the file is missing, malformed or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        loaded = json.loads(text) if path.suffix == ".json" else parse_yaml(text)
    except OSError as error:
        raise InputError(f"The settings file {path.name} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise InputError(f"The settings file {path.name} is not valid YAML or JSON.") from None
    if not isinstance(loaded, dict):
        raise InputError(f"The settings file {path.name} must hold a mapping of settings, not {type(loaded).__name__}.")
    return loaded
