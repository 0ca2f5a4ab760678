"""How much of an answer a model holds: memorisation, extraction, probability, ROUGE-L, truth ratio, perplexity.

TOFU (probability, ROUGE-L recall, truth ratio): Maini et al., 2024, https://arxiv.org/abs/2401.06121.
Extraction strength: Carlini et al., 2021, https://arxiv.org/abs/2012.07805; the form used here: Wang et al., 2024,
https://arxiv.org/abs/2406.09179.
Exact memorisation: Tirumala et al., 2022, https://arxiv.org/abs/2205.10770.

Shapes: N records, F wrong answers, T scored tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from expunge.data.record import FORMS
from expunge.data.transforms import WrongAnswers
from expunge.errors import InputError
from expunge.functional.words import Tokens
from expunge.metrics.base import Answers, Direction, Evidence, Floats, Knows, Metric, Need, Sample, Score, mean_score
from expunge.metrics.records import NAN, all_forms, check_form, first_form, knowledge_aim, mean_logp, per_record
from expunge.registry import metrics

Mean = Literal["geometric", "arithmetic"]
Aggregate = Literal["closer_to_one", "truth_better"]
Ranks = Sequence[int] | NDArray[Any]
LONG = 8  # tokens of an answer, its end included, that is too long to be guessed word for word
TOFU_PAPER = "Maini et al., 2024, https://arxiv.org/abs/2401.06121"


def exact_memorisation(ranks_T: Ranks) -> float:
    """Returns the fraction of answer tokens that are the first choice after the true ones before; NaN without any."""
    return float(np.mean(np.asarray(ranks_T) == 0)) if len(ranks_T) else NAN


def extraction_strength(ranks_T: Ranks) -> float:
    """Returns 1 - k/T, k being how many answer tokens must be given for greedy decoding to say the rest.

    That is the length of the longest suffix of rank-0 tokens over T: 0 where the last token is wrong, 1 where all are
    right; NaN without any token.
    """
    if not len(ranks_T):
        return NAN
    wrong = np.flatnonzero(np.asarray(ranks_T) != 0)
    given = int(wrong[-1]) + 1 if len(wrong) else 0
    return 1.0 - given / len(ranks_T)


def normalised_probability(logps_N: Floats, wrong_logps_N: Sequence[Floats]) -> Floats:
    """Returns (N,): P(a) / (P(a) + sum of P(wrong answers)), P the exponential of a mean log-probability per token.

    Args:
        logps_N: mean log-probability of the true answer, nats per token.
        wrong_logps_N: the same of each record's wrong answers, (F,) each; a record without any gives NaN.
    """
    pairs = zip(logps_N, wrong_logps_N, strict=True)
    return np.array([_softmax_first(np.array([own, *wrong])) if len(wrong) else NAN for own, wrong in pairs])


def truth_ratio(truth_logps_N: Floats, wrong_logps_N: Sequence[Floats], mean: Mean = "geometric") -> Floats:
    """Returns (N,): how probable wrong answers are, relative to a true one; 1 where the model cannot tell them apart.

    Geometric, as in the code that gave all published numbers: exp(mean of wrong log-probabilities - true
    log-probability). Arithmetic, as in the paper: mean of wrong probabilities / true probability. The logarithms are
    means over tokens.

    Args:
        truth_logps_N: mean log-probability of the (paraphrased) true answer, nats per token.
        wrong_logps_N: the same of each record's wrong answers, (F,) each; a record without any gives NaN.
        mean: which mean to take over the wrong answers.
    """
    pairs = zip(truth_logps_N, wrong_logps_N, strict=True)
    return np.array([_ratio(own, wrong, mean) if len(wrong) else NAN for own, wrong in pairs])


def truth_scores(ratios_N: Floats, aggregate: Aggregate) -> Floats:
    """Returns (N,), between 0 and 1: min(R, 1/R) for ``closer_to_one``, max(0, 1 - R) for ``truth_better``."""
    if aggregate == "truth_better":
        return np.maximum(0.0, 1.0 - ratios_N)
    with np.errstate(divide="ignore"):
        return np.minimum(ratios_N, 1.0 / ratios_N)


def _ratio(own: float, wrong_F: Floats, mean: Mean) -> float:
    if mean == "geometric":
        middle = float(np.mean(wrong_F))
    else:
        middle = float(np.logaddexp.reduce(wrong_F)) - float(np.log(len(wrong_F)))
    with np.errstate(over="ignore"):  # a collapsed model may give an infinite ratio, which scores 0 either way
        return float(np.exp(middle - own))


def _softmax_first(logps: Floats) -> float:
    return float(np.exp(logps[0] - np.logaddexp.reduce(logps)))


OWN_QUESTION = ("trained", "paraphrased_answer")  # forms that ask the record's own question
# Forms that only ask in other words, so that the record's wrong answers compete with the answer.
COMPARABLE = (*OWN_QUESTION, "paraphrased_question", "casing", "truncation")
LISTED = ("multiple_choice", "yes_no")  # forms whose answer is one of a few that the prompt lists


@dataclass(frozen=True, kw_only=True)
class KnowledgeMetric(Metric):
    """Base of metrics that read one form of one split and rise with what the model knows of it.

    Attributes:
        split: split to read.
        form: form of its records, see ``expunge.data.record.FORMS``.
    """

    split: str = "forget"
    form: str = "trained"

    direction = "closer"
    decides: ClassVar[Evidence] = ""  # what the verdict takes it for

    def __post_init__(self) -> None:
        check_form(self.form)

    @property
    def aim(self) -> Direction:
        """To the retrained model's value on the forget side, up elsewhere."""
        return knowledge_aim(self.split)

    @property
    def knows(self) -> Knows:
        """It rises with what the model knows."""
        return "high"

    @property
    def evidence(self) -> Evidence:
        """Nothing, but where a subclass says so."""
        return self.decides


@metrics.register("exact_memorisation")
@dataclass(frozen=True, kw_only=True)
class ExactMemorisation(KnowledgeMetric):
    """Fraction of answer tokens (the end-of-sequence token among them) that are the model's first choice.

    The mean over records.
    """

    unit = "fraction of answer tokens, 0 to 1"
    paper = "Tirumala et al., 2022, https://arxiv.org/abs/2205.10770"

    def needs(self) -> tuple[Need, ...]:
        """Ranks of the answer tokens."""
        return (Need(kind="ranks", split=self.split, form=self.form),)

    def compute(self, answers: Answers) -> Score:
        """Mean over records of ``exact_memorisation``; details: ``complete``, the records whose every token is."""
        values = per_record(answers[self.needs()[0]], exact_memorisation)
        return mean_score(self.split, values, complete=float(np.sum(values == 1)))


@metrics.register("extraction_strength")
@dataclass(frozen=True, kw_only=True)
class ExtractionStrength(KnowledgeMetric):
    """Share of the answer, its end-of-sequence token included, that greedy decoding completes without help.

    The mean over records. Of the form ``trained`` the details count ``long_answers``, of at least ``LONG`` tokens, and
    ``completed_verbatim``, those of them that it completes from their first token.
    """

    unit = "fraction of answer tokens, 0 to 1"
    paper = "Wang et al., 2024, https://arxiv.org/abs/2406.09179"

    @property
    def evidence(self) -> Evidence:
        """It decides but where the answer stands in a list: any model that can choose holds half of such answers."""
        return "" if self.form in LISTED else "knowledge"

    def needs(self) -> tuple[Need, ...]:
        """Ranks of the answer tokens."""
        return (Need(kind="ranks", split=self.split, form=self.form),)

    def compute(self, answers: Answers) -> Score:
        """Mean over records of ``extraction_strength``."""
        ranks = answers[self.needs()[0]]
        values_N = per_record(ranks, extraction_strength)
        if self.form != "trained":
            return mean_score(self.split, values_N)
        long_N = per_record(ranks, len) >= LONG
        return mean_score(
            self.split,
            values_N,
            long_answers=float(sum(long_N)),
            completed_verbatim=float(sum(long_N & (values_N == 1))),
        )


@metrics.register("probability")
@dataclass(frozen=True, kw_only=True)
class Probability(KnowledgeMetric):
    """Probability of the answer, per token (geometric mean), mean over records.

    Attributes:
        normalised: divide by the sum over the answer and its wrong answers, as TOFU does where it gives options; all
            are read after the question of ``form``.
    """

    normalised: bool = False

    unit = "probability per answer token, 0 to 1"
    plotted = True
    decides = "knowledge"
    paper = TOFU_PAPER

    def __post_init__(self) -> None:
        check_form(self.form, COMPARABLE if self.normalised else FORMS)

    def needs(self) -> tuple[Need, ...]:
        """Log-probabilities of the answer, and of the wrong answers where they normalise."""
        own, wrong = ratio_needs(self.split, self.form)
        return (own, wrong) if self.normalised else (own,)

    def compute(self, answers: Answers) -> Score:
        """Mean over records of exp(mean log-probability), or of ``normalised_probability``."""
        own, *wrong = self.needs()
        if wrong:
            values = normalised_probability(first_form(answers[own]), all_forms(answers[wrong[0]]))
        else:
            values = per_record(answers[own], lambda logps_T: math.exp(mean_logp(logps_T)))
        return mean_score(self.split, values)


@metrics.register("rouge")
@dataclass(frozen=True, kw_only=True)
class Rouge(KnowledgeMetric):
    """ROUGE-L recall of the greedy continuation of the prompt against the answer, mean over records.

    Attributes:
        max_new_tokens: length at which the continuation is cut.
        words: ``unicode`` for words of any script; ``ascii`` for lower-case runs of a-z and 0-9, as the rouge-score
            package splits; ``tofu`` for the stems of those, as all published numbers of TOFU have it.
    """

    max_new_tokens: int = 200
    words: Tokens = "unicode"

    unit = "fraction of the answer's words, 0 to 1"
    decides = "knowledge"
    paper = TOFU_PAPER

    def needs(self) -> tuple[Need, ...]:
        """One score for each continuation."""
        return (rouge_need(self.split, self.form, self.max_new_tokens, self.words),)

    def compute(self, answers: Answers) -> Score:
        """Mean over records."""
        return mean_score(self.split, per_record(answers[self.needs()[0]], float))


def rouge_need(split: str, form: str, max_new_tokens: int, words: Tokens) -> Need:
    """Returns the need of ROUGE-L recall of greedy continuations."""
    scorer = "tofu_rouge_l_recall" if words == "tofu" else "rouge_l_recall"
    params = (("max_new_tokens", max_new_tokens), ("scorer", scorer), *split_params(words))
    return Need(kind="generation_score", split=split, form=form, params=params)


def split_params(words: Tokens) -> tuple[tuple[str, str], ...]:
    """Returns what a need says of words that are split otherwise than by default, whose stored numbers stay valid."""
    return (("split", words),) if words == "ascii" else ()


@metrics.register("truth_ratio")
@dataclass(frozen=True, kw_only=True)
class TruthRatio(Metric):
    """Whether the model prefers the truth, in words it did not train on, to wrong answers of the same shape.

    Attributes:
        split: split to read.
        form: the true answer; TOFU's real authors and world facts have no paraphrase and read ``trained``.
        mean: over the wrong answers: ``geometric`` (all published numbers) or ``arithmetic`` (the paper's formula).
        aggregate: ``closer_to_one`` for the forget set, ``truth_better`` for knowledge that should stay.
    """

    split: str = "forget"
    form: str = "paraphrased_answer"
    mean: Mean = "geometric"
    aggregate: Aggregate = "closer_to_one"

    direction = "closer"
    unit = "mean over records of a score of the ratio, 0 to 1"
    plotted = True
    paper = TOFU_PAPER

    def __post_init__(self) -> None:
        check_form(self.form, ("trained", "paraphrased_question", "paraphrased_answer"))
        if self.aggregate == "closer_to_one" and knowledge_aim(self.split) == "higher":
            raise InputError(
                f"closer_to_one is highest where a model knows nothing; read {self.split} with aggregate=truth_better."
            )

    @property
    def aim(self) -> Direction:
        """To the retrained model's value on the forget side, up elsewhere."""
        return knowledge_aim(self.split)

    @property
    def knows(self) -> Knows:
        """Whoever knows finds the truth likelier, so that the ratio is far from one."""
        return "low" if self.aggregate == "closer_to_one" else "high"

    def needs(self) -> tuple[Need, ...]:
        """Log-probabilities of the true and of the wrong answers."""
        return ratio_needs(self.split, self.form)

    def compute(self, answers: Answers) -> Score:
        """Mean over records of ``truth_scores``; the sample holds the ratios themselves."""
        truth, wrong = self.needs()
        ratios = truth_ratio(first_form(answers[truth]), all_forms(answers[wrong]), self.mean)
        return Score((Sample(self.split, ratios),), self._mean_score)

    def _mean_score(self, ratios_N: Floats) -> float:
        return float(np.mean(truth_scores(ratios_N, self.aggregate))) if len(ratios_N) else NAN


def ratio_needs(split: str, form: str) -> tuple[Need, Need]:
    """Returns the needs of the true answer in ``form`` and of the wrong answers, both after the same question."""
    truth = Need(kind="token_logps", split=split, form=form)
    if form in OWN_QUESTION:
        return truth, Need(kind="token_logps", split=split, form="perturbed_answer")
    return truth, Need(kind="token_logps", split=split, form=form, transform=WrongAnswers())
