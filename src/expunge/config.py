"""Settings: frozen dataclass to and from JSON, YAML and ``--set key=value``. Each option is said once, as a dataclass field."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from expunge.errors import InputError, UnknownNameError
from expunge.registry import Registry, suggest

Settings = TypeVar("Settings")


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
def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def field_names(cls: Any) -> list[str]:
    """Names of the settings a dataclass takes."""
    return [item.name for item in dataclasses.fields(cls) if item.init]


def build(cls: type[Settings], values: Mapping[str, Any], *, where: str) -> Settings:
    """Builds a settings dataclass from plain values, checking names and types.

    Args:
        cls: a dataclass.
        values: field name to value; text is converted (``"1e-5"`` to a float).
        where: what is being set, for the message.

    Raises:
        UnknownNameError: a name that ``cls`` does not have.
        InputError: a value of the wrong type or outside its range.
    """
    known = field_names(cls)
    for name in values:
        if name not in known:
            raise UnknownNameError(f"{where} has no setting {name!r}.{suggest(name, known)}")
    try:
        return _adapter(cls).validate_python(dict(values))  # type: ignore[no-any-return]
    except ValidationError as error:
        # Messages only: pydantic's own text would echo the value it was handed.
        reasons = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or where}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise InputError(f"{where} cannot be set so: {reasons}.") from None


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


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """Reads ``["beta=0.5", "training.epochs=3"]`` into nested plain data; values are read as YAML."""
    result: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key.strip():
            raise InputError(f"--set takes key=value, not {pair.partition('=')[0]!r}; for example --set beta=0.1")
        parts = key.strip().split(".")
        node = result
        for part in parts[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise InputError(f"--set {key}: {part!r} was already given a plain value.")
        node[parts[-1]] = yaml.safe_load(text)
    return result


def read_settings_file(path: Path) -> dict[str, Any]:
    """Reads a YAML or JSON settings file into plain data.

    Raises:
        InputError: the file is missing, malformed or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        loaded = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise InputError(f"The settings file {path.name} cannot be read: {error.strerror}.") from None
    except (ValueError, yaml.YAMLError):
        raise InputError(f"The settings file {path.name} is not valid YAML or JSON.") from None
    if not isinstance(loaded, dict):
        raise InputError(f"The settings file {path.name} must hold a mapping of settings, not {type(loaded).__name__}.")
    return loaded
