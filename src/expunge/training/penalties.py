"""What draws the weights back while they are changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.registry import penalties


class Penalty:
    """Base of the penalties."""

    copies: ClassVar[float] = 0.0  # of the trainable weights


@penalties.register("none")
@dataclass(frozen=True, kw_only=True)
class NoPenalty(Penalty):
    """No penalty."""
