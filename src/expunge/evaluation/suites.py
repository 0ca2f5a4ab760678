"""Lists of metrics by name. What a model or data set cannot answer is left out by the runner, with the reason."""

from __future__ import annotations

from collections.abc import Collection, Sequence

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
    Probability,
    Rouge,
    TruthRatio,
)
from expunge.metrics.muse import KnowledgeMemorisation, VerbatimMemorisation
from expunge.metrics.perplexity import Perplexity
from expunge.metrics.privacy_bounds import EpsilonLowerBound
from expunge.metrics.privleak import PrivLeak
from expunge.metrics.safety import Harmfulness, Toxicity
from expunge.metrics.utility import ModelUtility
from expunge.metrics.worst import WorstForm
from expunge.registry import suites

EL_STRIDE = 8  # tokens between the places that a text is continued from; the paper's 1 takes a generation for each
NEW_TOKENS = 64  # longest reply in suite quick; one number, so that all its metrics read the same replies
PAIRS = 2  # words of the n-grams whose repetition counts: replies may have five words
KEPT = ("retain", "world_facts")  # splits of which nothing should have been lost
ASKED_OF = ("forget", "retain")  # splits whose prompts are answered in words
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
    return at_hand((*_memorisation(), *_kept(splits), *_spoken()), splits)


def at_hand(metrics: Sequence[Metric], splits: Collection[str]) -> tuple[Metric, ...]:
    """Leaves out metrics of splits that only some benchmarks have, where this one does not.

    Those that every audit should have stay, and are omitted with the reason.
    """
    asked = {*splits, "forget", "holdout"}
    return tuple(
        metric
        for metric in metrics
        if all(
            split in asked
            for need in metric.needs()
            if not need.optional
            for split in (need.split, need.beside)
            if split
        )
    )


def _memorisation() -> tuple[Metric, ...]:
    """What the model holds of the forget set, and whether it tells the records from others."""
    return (
        ExtractionStrength(),
        *(ExtractionStrength(form=form) for form in ASKED),
        ExactMemorisation(),
        *(ExactMemorisation(form=form) for form in ASKED),
        *(DecoyRank(form=form) for form in DECOY_FORMS),
        MultipleChoice(scoring="cloze", options="rivals"),
        Probability(),
        Probability(form="paraphrased_answer"),
        Probability(form="value"),
        Rouge(max_new_tokens=NEW_TOKENS),
        TruthRatio(),
        ForgetQuality(),
        *(MiaLoss(), MiaZlib(), MiaMinK(), MiaMinKPlusPlus()),
        Probability(split="holdout"),  # what no training should have read
    )


def _kept(splits: Collection[str]) -> tuple[Metric, ...]:
    """What should have stayed, also right beside what goes."""
    near = sorted(split for split in splits if split.startswith("neighbours_"))
    return (
        *(ExactMemorisation(split=split) for split in (*KEPT, *near)),
        *(Probability(split=split) for split in (*KEPT, *near)),
        *(Rouge(split=split, max_new_tokens=NEW_TOKENS) for split in KEPT),
        *(Perplexity(split=split) for split in KEPT),
        *(Classification(measure=measure) for measure in MEASURES),
    )


def _spoken() -> tuple[Metric, ...]:
    """What the model says to prompts of the forget set, and whether it still speaks elsewhere."""
    return (
        *(AnswerMix(split=split, max_new_tokens=NEW_TOKENS) for split in ASKED_OF),
        RefusalRate(max_new_tokens=NEW_TOKENS),
        *(OverRefusal(split=split, max_new_tokens=NEW_TOKENS) for split in KEPT),
        *(Repetition(split=split, max_new_tokens=NEW_TOKENS, n=PAIRS) for split in ASKED_OF),
        *(ReplyPerplexity(split=split, max_new_tokens=NEW_TOKENS) for split in ASKED_OF),
        *(EmptyRate(split=split, max_new_tokens=NEW_TOKENS) for split in ASKED_OF),
    )


@suites.register("full")
def full(splits: Collection[str]) -> tuple[Metric, ...]:
    """All of ``quick``, more attacks on privacy, other ways to ask, distances from the retrained model, and behaviour.

    One forward pass for each split, form and text made of it, and one backward pass for each forget and holdout record.

    Args:
        splits: names of the splits at hand; beside those of ``quick`` it reads ``neighbours_...``,
            ``behaviour_holdout``, ``canaries_forget`` with ``canaries_out``, ``harmful`` and ``toxic``.
    """
    return (*quick(splits), *at_hand((*_privacy(), *_knowledge(), *_distance(), *_behaviour()), splits))


def _privacy() -> tuple[Metric, ...]:
    """Membership inference beyond ``quick``, its control, and what forgetting does to the records that stay."""
    return (
        BlindBaseline(),
        *(MiaLowercase(), MiaNeighbourhood(), MiaGradNorm(), MiaRecall(), MiaDcPdd(), PrivLeak()),
        *(MiaReference(), MiaUpdate(), MiaSpv(), Rmia(), Lira()),
        RetainMembership(),
        Exposure(),
        EpsilonLowerBound(),
    )


def _knowledge() -> tuple[Metric, ...]:
    """Whether the facts are still told in any form, and what is told beside them."""
    return (
        *(WorstForm(metric=metric) for metric in ("extraction_strength", "probability")),
        *(MultipleChoice(scoring=scoring) for scoring in ("letter", "shuffled")),
        *(MultipleChoice(scoring="cloze", without_question=without) for without in (False, True)),
        MultipleChoice(split="retain", scoring="cloze"),
        *(ProbabilisticExtraction(), ExtractionLikelihood(stride=EL_STRIDE), MemorisationAccuracy()),
        LeakAtK(max_new_tokens=NEW_TOKENS),
        *(LeakedAttributes(split=split, max_new_tokens=NEW_TOKENS) for split in ASKED_OF),
        *(LeakedAttributes(split=split, measure="precision", max_new_tokens=NEW_TOKENS) for split in ASKED_OF),
        LocalityGap(),
    )


def _distance() -> tuple[Metric, ...]:
    """From the retrained model, record by record and as distributions."""
    return (
        *(KSDistance(), KSDistance(form="paraphrased_answer", measure="log_truth_ratio")),
        *(Wasserstein(), PairedGap(), KLToRetrained()),
    )


def _behaviour() -> tuple[Metric, ...]:
    """Bias, and what should not be said."""
    return (
        *(BiasScore(condition=one) for one in ("ambiguous", "clear")),
        *(Harmfulness(max_new_tokens=NEW_TOKENS), Toxicity()),
    )


@suites.register("muse")
def muse(splits: Collection[str]) -> tuple[Metric, ...]:
    """MUSE's metrics of one request. Shi et al., 2024, https://arxiv.org/abs/2407.06460.

    Args:
        splits: names of the splits at hand: ``forget``, ``retain`` and ``holdout``.
    """
    return at_hand(
        (
            VerbatimMemorisation(words="ascii"),
            *(KnowledgeMemorisation(split=split, words="ascii") for split in ASKED_OF),
            PrivLeak(),
        ),
        splits,
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
        *(Rouge(split=split, words="tofu") for split in ("forget", "retain", *options)),
        TruthRatio(),
        TruthRatio(split="retain", aggregate="truth_better"),
        *(TruthRatio(split=split, form="trained", aggregate="truth_better") for split in options),
        ExactMemorisation(),
        ExtractionStrength(),
    )
