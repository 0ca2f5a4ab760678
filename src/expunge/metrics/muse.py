"""MUSE: verbatim and knowledge memorisation. Shi et al., 2024, https://arxiv.org/abs/2407.06460.

The paper's numbers are these times 100. ROUGE-L without stems, as in the paper's code (``use_stemmer=False``), by
default on words of any script. The suite ``muse`` sets ``words=ascii``, whose numbers are those of the paper's package.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from expunge.data.shots import FewShot
from expunge.errors import InputError
from expunge.metrics.base import UNLABELLED, Answers, Need, Score, mean_score
from expunge.metrics.extraction import too_short
from expunge.metrics.memorisation import KnowledgeMetric, split_params
from expunge.metrics.records import per_record
from expunge.registry import metrics

MUSE = "Shi et al., 2024, https://arxiv.org/abs/2407.06460"
Words = Literal["unicode", "ascii"]
UNIT = "ROUGE-L F1, 0 to 1 (the paper's numbers are 100 times that)"


@metrics.register("verbatim_memorisation")
@dataclass(frozen=True, kw_only=True)
class VerbatimMemorisation(KnowledgeMetric):
    """VerbMem: ROUGE-L F1 of the greedy continuation of a text's start with as many tokens of the true one, mean.

    On token ids: the true continuation is never tokenised apart from its start. The end-of-sequence token does not
    count.

    Attributes:
        prefix: scored tokens that are given. The data of the paper has the start as a prompt of its own: take 0 for
            records with a prompt. Records with no token left have no number.
        max_new_tokens: longest continuation.
        words: ``unicode`` for words of any script, ``ascii`` for those of the paper's package.
    """

    prefix: int = 50
    max_new_tokens: int = 128
    words: Words = field(default="unicode", metadata=UNLABELLED)

    unit = UNIT
    paper = MUSE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prefix < 0 or self.max_new_tokens < 1:
            raise InputError(
                f"prefix={self.prefix}, max_new_tokens={self.max_new_tokens}: at least 0 and at least 1 tokens."
            )

    def needs(self) -> tuple[Need, ...]:
        """ROUGE-L of each continuation."""
        params = (("max_new_tokens", self.max_new_tokens), ("prefix", self.prefix), *split_params(self.words))
        return (Need(kind="verbatim_rouge", split=self.split, form=self.form, params=params),)

    def compute(self, answers: Answers) -> Score:
        """Mean over records; ``too_short`` counts those without a number."""
        found = answers[self.needs()[0]]
        values_N = per_record(found, float)
        return mean_score(self.split, values_N, too_short=too_short(found, values_N))


@metrics.register("knowledge_memorisation")
@dataclass(frozen=True, kw_only=True)
class KnowledgeMemorisation(KnowledgeMetric):
    """KnowMem: ROUGE-L F1 of the greedy answer to a question after answered questions of another split, mean.

    On the retain set it is the paper's utility preservation. No chat template is applied; the answer ends before a
    blank line or the next question.

    Attributes:
        shots_from: split of the answered questions.
        shots: how many; fewer where the split has fewer.
        max_new_tokens: longest answer.
        words: ``unicode`` for words of any script, ``ascii`` for those of the paper's package.
    """

    shots_from: str = "retain"
    shots: int = 10
    max_new_tokens: int = 32
    words: Words = field(default="unicode", metadata=UNLABELLED)

    unit = UNIT
    paper = MUSE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shots < 1 or self.max_new_tokens < 1:
            raise InputError(f"shots={self.shots}, max_new_tokens={self.max_new_tokens}: both are at least 1.")

    def needs(self) -> tuple[Need, ...]:
        """ROUGE-L of each answer."""
        scorer = ("scorer", "knowledge_rouge_l_f1")
        params = (("max_new_tokens", self.max_new_tokens), scorer, *split_params(self.words))
        shots = FewShot(split=self.shots_from, count=self.shots)
        return (Need(kind="generation_score", split=self.split, form=self.form, params=params, transform=shots),)

    def compute(self, answers: Answers) -> Score:
        """Mean over records."""
        return mean_score(self.split, per_record(answers[self.needs()[0]], float))
