"""Losses, not reduced, to be minimised; they know no model, no ``-100`` and no padding.

Those of log-probabilities of whole answers give one value for each sequence, (B,), those of single tokens one for each
token, (B, T); those of logits at packed answer positions one for each position, (N,); those of hidden states one for
each sequence, the mean over its tokens.
"""

from __future__ import annotations

from expunge.functional.losses.likelihood import gradient_ascent, mean_probability, nll
from expunge.functional.losses.margins import inverted_hinge, pdu_margin
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
from expunge.functional.losses.representation import (
    control_vector,
    hidden_distance,
    random_mapping,
    rerouting,
    rmu_forget,
    rmu_retain,
    token_vectors,
)
from expunge.functional.losses.targets import (
    ceu_targets,
    least_likely,
    shred_targets,
    target_cross_entropy,
    teacher_tokens,
    top_k_kl,
    undial_targets,
    unilogit_logits,
    unilogit_targets,
)
from expunge.functional.losses.weights import check_power, satimp_weights, weighted_ascent, wga_weights

__all__ = [
    "Divergence",
    "answer_preservation_loss",
    "ceu_targets",
    "check_beta",
    "check_power",
    "control_vector",
    "dpo_loss",
    "flat_loss",
    "gradient_ascent",
    "hidden_distance",
    "inverted_hinge",
    "least_likely",
    "mean_probability",
    "nll",
    "npo_loss",
    "pdu_margin",
    "random_mapping",
    "rerouting",
    "rmu_forget",
    "rmu_retain",
    "satimp_weights",
    "shred_targets",
    "simnpo_loss",
    "target_cross_entropy",
    "teacher_tokens",
    "tnpo_loss",
    "token_vectors",
    "top_k_kl",
    "undial_targets",
    "unilogit_logits",
    "unilogit_targets",
    "weighted_ascent",
    "wga_weights",
]
