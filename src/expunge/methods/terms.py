"""Terms of a loss: values that are not reduced yet, so that the loop can normalise over the whole effective batch.

Shapes: B sequences, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from expunge.data.batch import Batch

Reduction = Literal["token", "sequence"]


@dataclass(frozen=True)
class Term:
    """One named part of a loss.

    Its value over an effective batch is ``sum(values * weights) / sum(weights)``, both sums over all micro-batches
    and ranks.

    Attributes:
        values: (B,) for reduction ``sequence``; (B, T), or (B,) with means over tokens, for ``token``; to be minimised.
        reduction: what the weights count.
        view: the view whose record and token weights apply.
    """

    values: Tensor
    reduction: Reduction
    view: str = "forget"

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
