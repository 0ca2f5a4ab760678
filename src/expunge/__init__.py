"""Make a language model forget, and show whether it did."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

__all__ = [
    "AttackChoice",
    "AttackRequest",
    "AuditRequest",
    "Bench",
    "BenchRequest",
    "Finished",
    "GuessRequest",
    "MatchRequest",
    "Plan",
    "PrepareRequest",
    "Prepared",
    "Request",
    "ShadowsRequest",
    "__version__",
    "attack",
    "audit",
    "bench",
    "compare",
    "compare_at_utility",
    "demo",
    "guesses",
    "load",
    "plan",
    "prepare",
    "shadows",
    "unlearn",
]

_FROM_API = frozenset(__all__) - {"__version__"}

try:
    __version__ = importlib.metadata.version("expunge")
except importlib.metadata.PackageNotFoundError:  # a source tree on the path, not installed
    __version__ = "0+source"


def __getattr__(name: str) -> Any:
    """Fetches a verb from ``expunge.api`` at its first use, so that ``import expunge`` loads no torch (PEP 562)."""
    if name in _FROM_API:
        return getattr(importlib.import_module("expunge.api"), name)
    raise AttributeError(f"module 'expunge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
