"""What a retain term is, and none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from expunge.errors import InputError
from expunge.methods.base import Views, ViewSpec
from expunge.methods.terms import Term
from expunge.registry import retain_terms


class RetainTerm(ABC):
    """Base of the retain terms.

    Class attributes:
        scale: units of the term in one nat, for the guard; infinity where any finite value is sane.
    """

    scale: ClassVar[float] = 1.0

    def views(self) -> tuple[ViewSpec, ...]:
        """Streams that the term reads."""
        return (ViewSpec(name="retain", source="retain"),)

    @abstractmethod
    def term(self, views: Views) -> Term | None:
        """The term, token mean over the retain view; None for no term."""


@dataclass(frozen=True, kw_only=True)
class FromSource(RetainTerm):
    """Base of the retain terms that hold the model on records of one source.

    Attributes:
        source: the records; the view has the same name, and the term is called ``retain`` all the same.
    """

    source: str = "retain"

    def __post_init__(self) -> None:
        """Refuses to hold what is to be forgotten."""
        if self.source in ("", "forget"):
            raise InputError(
                f"A retain term cannot hold the model on the records {self.source!r}; name others, such as retain or "
                "general."
            )

    def views(self) -> tuple[ViewSpec, ...]:
        """The records of the source."""
        return (ViewSpec(name=self.source, source=self.source),)


@retain_terms.register("none")
@dataclass(frozen=True, kw_only=True)
class NoRetain(RetainTerm):
    """Nothing holds the model."""

    def views(self) -> tuple[ViewSpec, ...]:
        """Reads nothing."""
        return ()

    def term(self, views: Views) -> Term | None:
        """No term."""
        return None
