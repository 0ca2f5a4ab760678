"""Losses, not reduced, to be minimised; they know no model, no ``-100`` and no padding.

Those of log-probabilities of whole answers give one value for each sequence, (B,), those of single tokens one for each
token, (B, T); those of logits at packed answer positions one for each position, (N,); those of hidden states one for
each sequence, the mean over its tokens.
"""

from __future__ import annotations

from expunge.functional.losses.likelihood import gradient_ascent, mean_probability, nll
from expunge.functional.losses.preference import (
    Divergence,
    answer_preservation_loss,
    check_beta,
    dpo_loss,
    flat_loss,
    npo_loss,
    simnpo_loss,
    tnpo_loss,
)
from expunge.functional.losses.weights import check_power, satimp_weights, weighted_ascent, wga_weights

__all__ = [
    "Divergence",
    "answer_preservation_loss",
    "check_beta",
    "check_power",
    "dpo_loss",
    "flat_loss",
    "gradient_ascent",
    "mean_probability",
    "nll",
    "npo_loss",
    "satimp_weights",
    "simnpo_loss",
    "tnpo_loss",
    "weighted_ascent",
    "wga_weights",
]
