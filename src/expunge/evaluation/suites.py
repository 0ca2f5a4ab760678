"""Lists of metrics by name. What a model or data set cannot answer is left out by the runner, with the reason."""

from __future__ import annotations

from collections.abc import Collection

from expunge.data.forms.decoy import DECOY_FORMS
from expunge.metrics.answers import AnswerMix, OverRefusal, RefusalRate
from expunge.metrics.base import Metric
from expunge.metrics.bias import BiasScore
from expunge.metrics.blind import BlindBaseline
from expunge.metrics.choice import MultipleChoice
from expunge.metrics.classification import MEASURES, Classification
from expunge.metrics.decoy import DecoyRank
from expunge.metrics.distances import KLToRetrained, KSDistance, PairedGap, Wasserstein
from expunge.metrics.distribution import ForgetQuality
from expunge.metrics.exposure import Exposure
from expunge.metrics.extraction import ExtractionLikelihood, MemorisationAccuracy, ProbabilisticExtraction
from expunge.metrics.fluency import EmptyRate, Repetition, ReplyPerplexity
from expunge.metrics.kept import LocalityGap, RetainMembership
from expunge.metrics.leakage import LeakAtK
from expunge.metrics.leaks import LeakedAttributes
from expunge.metrics.membership import MiaLoss, MiaMinK, MiaMinKPlusPlus, MiaZlib
from expunge.metrics.membership_reference import MiaReference, MiaSpv, MiaUpdate
from expunge.metrics.membership_shadow import Lira, Rmia
from expunge.metrics.membership_texts import MiaDcPdd, MiaGradNorm, MiaLowercase, MiaNeighbourhood, MiaRecall
from expunge.metrics.memorisation import (
    ExactMemorisation,
    ExtractionStrength,
    Perplexity,
    Probability,
    Rouge,
    TruthRatio,
)
from expunge.metrics.muse import KnowledgeMemorisation, VerbatimMemorisation
from expunge.metrics.privacy_bounds import EpsilonLowerBound
from expunge.metrics.privleak import PrivLeak
from expunge.metrics.safety import Harmfulness, Toxicity
from expunge.metrics.utility import ModelUtility
from expunge.metrics.worst import WorstForm
from expunge.registry import suites

EL_STRIDE = 8  # tokens between the places that a text is continued from; the paper's 1 takes a generation for each
NEW_TOKENS = 64  # longest reply in suite quick; one number, so that all its metrics read the same replies
PAIRS = 2  # words of the n-grams whose repetition counts: replies may have five words
# Ways to ask for a fact in suite quick; those that no forget record has are left out by the runner.
ASKED = (
    *("paraphrased_question", "cloze", "reverse", "prefix", "casing", "truncation"),
    *("multiple_choice", "multi_hop", "yes_no", "second_language", "biography"),
)


@suites.register("quick")
def quick(splits: Collection[str]) -> tuple[Metric, ...]:
    """Minutes on a laptop: memorisation, membership inference, utility and speech; one forward and one generation pass.

    Args:
        splits: names of the splits at hand; the utility side reads ``retain`` and, where they are there,
            ``world_facts`` and ``neighbours_...``, parts of ``retain`` by their distance from what is forgotten.
            ``classification`` is read where it is there.
    """
    kept = [split for split in ("retain", "world_facts") if split in splits]
    near = sorted(split for split in splits if split.startswith("neighbours_"))
    return (
        ExtractionStrength(),
        *(ExtractionStrength(form=form) for form in ASKED),
        ExactMemorisation(),
        *(ExactMemorisation(form=form) for form in ASKED),
        *(DecoyRank(form=form) for form in DECOY_FORMS),
        Probability(),
        Probability(form="paraphrased_answer"),
        Rouge(max_new_tokens=NEW_TOKENS),
        TruthRatio(),
        ForgetQuality(),
        MiaLoss(),
        MiaZlib(),
        MiaMinK(),
        MiaMinKPlusPlus(),
        *(ExactMemorisation(split=split) for split in (*kept, *near)),
        *(Probability(split=split) for split in (*kept, *near)),
        *(Rouge(split=split, max_new_tokens=NEW_TOKENS) for split in kept),
        *(Perplexity(split=split) for split in kept),
        *_spoken(kept),
        *(Classification(measure=measure) for measure in MEASURES if "classification" in splits),
    )


def _spoken(kept: Collection[str]) -> tuple[Metric, ...]:
    """What the model says to prompts of the forget set, and whether it still speaks elsewhere."""
    spoken = [split for split in ("forget", "retain") if split == "forget" or split in kept]
    return (
        *(AnswerMix(split=split, max_new_tokens=NEW_TOKENS) for split in spoken),
        RefusalRate(max_new_tokens=NEW_TOKENS),
        *(OverRefusal(split=split, max_new_tokens=NEW_TOKENS) for split in kept),
        *(Repetition(split=split, max_new_tokens=NEW_TOKENS, n=PAIRS) for split in spoken),
        *(ReplyPerplexity(split=split, max_new_tokens=NEW_TOKENS) for split in spoken),
        *(EmptyRate(split=split, max_new_tokens=NEW_TOKENS) for split in spoken),
    )


@suites.register("full")
def full(splits: Collection[str]) -> tuple[Metric, ...]:
    """All of ``quick``, more attacks on privacy, other ways to ask, distances from the retrained model, and behaviour.

    One forward pass for each split, form and text made of it, and one backward pass for each forget and holdout record.

    Args:
        splits: names of the splits at hand; beside those of ``quick`` it reads ``neighbours_...``,
            ``behaviour_holdout``, ``canaries_forget`` with ``canaries_out``, ``harmful`` and ``toxic``.
    """
    return (*quick(splits), *_privacy(splits), *_knowledge(splits), *_distance(), *_behaviour(splits))


def _privacy(splits: Collection[str]) -> tuple[Metric, ...]:
    """Membership inference beyond ``quick``, its control, and what forgetting does to the records that stay."""
    return (
        BlindBaseline(),
        *(MiaLowercase(), MiaNeighbourhood(), MiaGradNorm(), MiaRecall(), MiaDcPdd(), PrivLeak()),
        *(MiaReference(), MiaUpdate(), MiaSpv(), Rmia(), Lira()),
        *(RetainMembership() for split in splits if split == "retain"),
        *(Exposure(split=split) for split in splits if split == "canaries_forget"),
        *(EpsilonLowerBound() for split in splits if split == "canaries_forget" and "canaries_out" in splits),
    )


def _knowledge(splits: Collection[str]) -> tuple[Metric, ...]:
    """Whether the facts are still told in any form, and what is told beside them."""
    asked = [split for split in ("forget", "retain") if split in splits]
    return (
        *(WorstForm(metric=metric) for metric in ("extraction_strength", "probability")),
        *(MultipleChoice(scoring=scoring) for scoring in ("letter", "shuffled", "cloze")),
        MultipleChoice(scoring="cloze", without_question=True),
        *(MultipleChoice(split=split, scoring="cloze") for split in asked if split != "forget"),
        *(ProbabilisticExtraction(), ExtractionLikelihood(stride=EL_STRIDE), MemorisationAccuracy()),
        LeakAtK(max_new_tokens=NEW_TOKENS),
        *(LeakedAttributes(split=split, max_new_tokens=NEW_TOKENS) for split in asked),
        *(LeakedAttributes(split=split, measure="precision", max_new_tokens=NEW_TOKENS) for split in asked),
        *(LocalityGap() for split in splits if split == "neighbours_1" and "neighbours_far" in splits),
    )


def _distance() -> tuple[Metric, ...]:
    """From the retrained model, record by record and as distributions."""
    return (
        *(KSDistance(), KSDistance(form="paraphrased_answer", measure="log_truth_ratio")),
        *(Wasserstein(), PairedGap(), KLToRetrained()),
    )


def _behaviour(splits: Collection[str]) -> tuple[Metric, ...]:
    """Bias, and what should not be said."""
    return (
        *(BiasScore(condition=one) for one in ("ambiguous", "clear") if "behaviour_holdout" in splits),
        *(Harmfulness(max_new_tokens=NEW_TOKENS) for split in splits if split == "harmful"),
        *(Toxicity() for split in splits if split == "toxic"),
    )


@suites.register("muse")
def muse(splits: Collection[str]) -> tuple[Metric, ...]:
    """MUSE's metrics of one request. Shi et al., 2024, https://arxiv.org/abs/2407.06460.

    Args:
        splits: names of the splits at hand: ``forget``, ``retain`` and ``holdout``.
    """
    asked = [split for split in ("forget", "retain") if split in splits]
    return (VerbatimMemorisation(), *(KnowledgeMemorisation(split=split) for split in asked), PrivLeak())


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
        *(Rouge(split=split, words="tofu") for split in ("forget", "retain", *options)),
        TruthRatio(),
        TruthRatio(split="retain", aggregate="truth_better"),
        *(TruthRatio(split=split, form="trained", aggregate="truth_better") for split in options),
        ExactMemorisation(),
        ExtractionStrength(),
    )
