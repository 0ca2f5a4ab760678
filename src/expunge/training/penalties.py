"""What draws the weights back while they are changed."""

from __future__ import annotations

from dataclasses import dataclass

from expunge.registry import penalties


class Penalty:
    """Base of the penalties."""


@penalties.register("none")
@dataclass(frozen=True, kw_only=True)
class NoPenalty(Penalty):
    """No penalty."""
