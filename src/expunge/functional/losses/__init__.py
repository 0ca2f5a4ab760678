"""Losses, not reduced, to be minimised; they know no model, no ``-100`` and no padding.

Those of log-probabilities of whole answers give one value for each sequence, (B,); those of logits at packed answer
positions one for each position, (N,); those of hidden states one for each sequence, the mean over its tokens.
"""

from __future__ import annotations

from expunge.functional.losses.likelihood import gradient_ascent, nll
from expunge.functional.losses.preference import check_beta, dpo_loss, npo_loss

__all__ = ["check_beta", "dpo_loss", "gradient_ascent", "nll", "npo_loss"]
