"""Lists of metrics by name. What a model or data set cannot answer is left out by the runner, with the reason."""

from __future__ import annotations

from collections.abc import Collection

from expunge.metrics.base import Metric
from expunge.metrics.distribution import ForgetQuality
from expunge.metrics.membership import MiaLoss, MiaMinK, MiaMinKPlusPlus, MiaZlib
from expunge.metrics.memorisation import (
    ExactMemorisation,
    ExtractionStrength,
    Perplexity,
    Probability,
    Rouge,
    TruthRatio,
)
from expunge.metrics.utility import ModelUtility
from expunge.registry import suites

NEW_TOKENS = 64  # longest continuation in suite quick


@suites.register("quick")
def quick(splits: Collection[str]) -> tuple[Metric, ...]:
    """Minutes on a laptop: memorisation, membership inference and utility, one forward pass for all.

    Args:
        splits: names of the splits at hand; the utility side reads ``retain`` and, where it is there, ``world_facts``.
    """
    kept = [split for split in ("retain", "world_facts") if split in splits]
    return (
        ExtractionStrength(),
        ExtractionStrength(form="paraphrased_question"),
        ExactMemorisation(),
        Probability(),
        Probability(form="paraphrased_answer"),
        Rouge(max_new_tokens=NEW_TOKENS),
        TruthRatio(),
        ForgetQuality(),
        MiaLoss(),
        MiaZlib(),
        MiaMinK(),
        MiaMinKPlusPlus(),
        *(ExactMemorisation(split=split) for split in kept),
        *(Probability(split=split) for split in kept),
        *(Rouge(split=split, max_new_tokens=NEW_TOKENS) for split in kept),
        *(Perplexity(split=split) for split in kept),
    )


@suites.register("tofu")
def tofu(splits: Collection[str]) -> tuple[Metric, ...]:
    """TOFU's own metrics. Maini et al., 2024, https://arxiv.org/abs/2401.06121.

    Args:
        splits: names of the splits at hand; TOFU has forget, retain, real_authors and world_facts.
    """
    options = ("real_authors", "world_facts")
    return (
        ForgetQuality(),
        ModelUtility(),
        Probability(),
        Probability(split="retain"),
        *(Probability(split=split, normalised=True) for split in options),
        *(Rouge(split=split) for split in ("forget", "retain", *options)),
        TruthRatio(),
        TruthRatio(split="retain", aggregate="truth_better"),
        *(TruthRatio(split=split, form="trained", aggregate="truth_better") for split in options),
        ExactMemorisation(),
        ExtractionStrength(),
    )
