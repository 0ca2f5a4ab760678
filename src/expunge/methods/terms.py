"""Terms of a loss: values that are not reduced yet, so that the loop can normalise over the whole effective batch.

Shapes: B sequences, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from expunge.data.batch import Batch

Reduction = Literal["token", "sequence"]


def holds(name: str) -> bool:
    """Whether the term of this name is of the retain side: ``retain``, or a method's own ``retain_...``."""
    return name == "retain" or name.startswith("retain_")


@dataclass(frozen=True)
class Term:
    """One named part of a loss.

    Its value over an effective batch is ``sum(values * weights) / sum(weights)``, both sums over all micro-batches
    and ranks.

    Attributes:
        values: (B,) for reduction ``sequence``; (B, T), or (B,) with means over tokens, for ``token``; to be minimised.
        reduction: what the weights count.
        view: the view whose record and token weights apply.
        others: parts of the same mean that are read on other views: both sums run over all parts.
    """

    values: Tensor
    reduction: Reduction
    view: str = "forget"
    others: tuple[Term, ...] = ()

    def share(self, batches: Mapping[str, Batch], totals: Mapping[tuple[str, Reduction], float]) -> Tensor:
        """Part of one micro-batch in the term's value, a scalar with gradient.

        Args:
            batches: the micro-batch of each view.
            totals: sum of the weights of each view over the effective batch.
        """
        parts = (self, *self.others)
        numerators = [part.numerator(batches[part.view]) for part in parts]
        return sum(numerators[1:], numerators[0]) / sum(totals[part.view, part.reduction] for part in parts)

    def numerator(self, batch: Batch) -> Tensor:
        """Weighted sum of the values over one micro-batch, a scalar with gradient."""
        term_weights = weights(batch, self.reduction).to(self.values)
        if (
            self.values.ndim < term_weights.ndim
        ):  # a mean over tokens for each record counts as often as the record has tokens
            term_weights = term_weights.sum(-1)
        return (self.values * term_weights).sum()


def weights(batch: Batch, reduction: Reduction) -> Tensor:
    """Weights of a batch: of its records (B,), or of its scored tokens times their record's (B, T)."""
    if reduction == "sequence":
        return batch.weights_B
    return batch.token_weights_BT * batch.weights_B[:, None]


def per_sequence(values_B: Tensor, view: str = "forget") -> Term:
    """A term with one value per record."""
    return Term(values_B, "sequence", view)


def per_token(values_BT: Tensor, view: str = "forget") -> Term:
    """A term with one value per scored token."""
    return Term(values_BT, "token", view)


def joined(parts: Sequence[Term]) -> Term:
    """One term of several: the weighted mean over all of them, as if they were read on one view."""
    return replace(parts[0], others=tuple(parts[1:]))
