"""The extraction challenge's attack on the forget records: guesses of how each goes on.

Carlini et al., 2022, https://github.com/google-research/lm-extraction-benchmark.

The guesses are token ids and hold memorised text. ``Probe`` has numbers only; ``expunge guesses`` writes the file.

Shapes: N records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from expunge.attacks.base import AttackTask, Probe, ProbeAttack, Threat
from expunge.attacks.told import WIDER, seed_of
from expunge.data.batch import IGNORE
from expunge.data.record import Record
from expunge.data.tokenize import encode
from expunge.errors import InputError
from expunge.evaluation.guesses import Guessing, guess_suffixes, suffix_nats
from expunge.functional.guesses import ERRORS, MAX_GUESSES, Guess, score_guesses
from expunge.metrics.base import Floats
from expunge.models.load import LoadedModel
from expunge.registry import attacks

NAME = "extraction_guesses"


class Halves(NamedTuple):
    """Token ids of a record, cut where the guess begins."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]


@attacks.register("extraction_guesses")
@dataclass(frozen=True, kw_only=True)
class ExtractionGuesses(ProbeAttack):
    """Gives the model the first half of each record, draws the second several times and keeps the likeliest.

    All guesses are sorted by their mean negative log-likelihood. A record counts where a guess is right in all tokens:
    ``all``, which is the headline, anywhere; ``before 100 errors`` only before the 100th wrong guess of the whole list,
    as the challenge has it, so that one record's number hangs on all others.

    Departures: records are shorter than 100 tokens and asked for, so the prefix is all that stands before the answer
    and at most half of the answer; what follows the suffix is not looked at, and neither is the end token. The
    likelihood is of the suffix, all of it; the challenge's baseline is off by one token.

    Attributes:
        prefix: tokens of the answer that are given, at most half of them.
        length: tokens to guess, at most.
        samples: draws for each record.
        keep: guesses about each record, the likeliest ones.
        top_k: likeliest tokens that are drawn from.
    """

    prefix: int = 50
    length: int = 50
    samples: int = 5
    keep: int = 1
    top_k: int = 10

    threat = Threat(
        "extraction", "logits", "Carlini et al., 2022, https://github.com/google-research/lm-extraction-benchmark"
    )
    title = "guesses of the second half"
    unit = "share of records solved, 0 to 1"
    # The baseline's default: 100 draws for each prefix, the likeliest kept.
    paper_budget: ClassVar[Mapping[str, Any]] = {"samples": 100}

    def __post_init__(self) -> None:
        if self.prefix < 0:
            raise InputError(f"prefix={self.prefix}: no negative number of tokens can be given.")
        self._guessing(self.length, 0)

    def probe(self, loaded: LoadedModel, task: AttackTask) -> Probe:
        """Returns whether each record was solved before the 100th wrong guess, and whether at all.

        Raises:
            InterruptedRunError: it was asked to stop.
            DivergedError: log-probabilities that are not numbers.
        """
        halves = self.halves(loaded, task)
        truth = {row: one.suffix for row, one in halves.items()}
        guesses = self.guesses(loaded, task)
        found = {
            f"before {ERRORS} errors": solved(guesses, truth, len(task.forget), ERRORS),
            "all": solved(guesses, truth, len(task.forget), len(guesses) + 1),
        }
        details = {"records with two halves": float(len(truth)), "guesses": float(len(guesses))}
        if truth:
            score = score_guesses(guesses, truth)
            details |= {"recall at 100": score.recall_at_100, "recall": score.recall, "wrong": float(score.errors)}
            details |= {"precision": score.precision} if guesses else {}
        return Probe(found, "all", details)

    def guesses(self, loaded: LoadedModel, task: AttackTask) -> list[Guess]:
        """Returns the rows of a guess file, the surest first, about records by their place; memorised text.

        Raises:
            InterruptedRunError: it was asked to stop.
            DivergedError: log-probabilities that are not numbers.
        """
        halves, size = self.halves(loaded, task), WIDER * task.batch_size
        prefixes = {row: one.prefix for row, one in halves.items()}
        found: list[Guess] = []
        # Those of one length are guessed together, since a draw ends where its suffix does.
        for length in sorted({len(one.suffix) for one in halves.values()}):
            rows = [row for row, one in halves.items() if len(one.suffix) == length]
            for start in range(0, len(rows), size):
                task.check_stop(NAME)
                batch = rows[start : start + size]
                guessing = self._guessing(length, seed_of(task, f"{NAME}:{length}:{start}"))
                asked = {row: prefixes[row] for row in batch}
                found += guess_suffixes(loaded, asked, guessing, batch_size=size)
                task.steps.advance(len(batch))
        task.check_stop(NAME)
        return guess_rows(found, suffix_nats(loaded, prefixes, found, batch_size=task.batch_size))

    def halves(self, loaded: LoadedModel, task: AttackTask) -> dict[int, Halves]:
        """Returns by place the records that have two halves within what the model reads."""
        limit = loaded.limit(task.max_length)
        cut = ((row, self._cut(record, loaded, limit)) for row, record in enumerate(task.forget))
        return {row: halves for row, halves in cut if halves is not None}

    def _cut(self, record: Record, loaded: LoadedModel, limit: int) -> Halves | None:
        example = encode(record, loaded.tokenizer, row=0, max_length=limit)
        places = [place for place, label in enumerate(example.labels[: example.end]) if label != IGNORE]
        given = min(self.prefix, len(places) // 2)
        start = places[given] if given < len(places) else 0
        suffix = example.input_ids[start : min(start + self.length, places[-1] + 1 if places else 0)]
        return Halves(example.input_ids[:start], suffix) if start and suffix else None

    def _guessing(self, length: int, seed: int) -> Guessing:
        return Guessing(length=length, samples=self.samples, keep=self.keep, top_k=self.top_k, draw_seed=seed)


def guess_rows(guesses: Sequence[Guess], nats: Sequence[float]) -> list[Guess]:
    """Returns the rows of one guess file, the surest first, at most 100,000.

    Args:
        guesses: of any order; several about one example, never the same one twice.
        nats: mean negative log-likelihood of each guess's suffix, nats per token.
    """
    pairs = sorted(zip(nats, guesses, strict=True))
    return [guess for _, guess in pairs[:MAX_GUESSES]]


def solved(guesses: Iterable[Guess], truth: Mapping[int, Sequence[int]], count: int, errors: int) -> Floats:
    """Returns (N,): 1 where a right guess stands before the ``errors``-th wrong one, 0 where none does.

    NaN where there is no suffix to guess. Its mean over the others is the recall of ``score_guesses``.

    Args:
        guesses: in the order of the file.
        truth: suffix of each record, by its place.
        count: number of records.
        errors: wrong guesses at which the walk ends.
    """
    solved_N, wrong = np.array([0.0 if row in truth else np.nan for row in range(count)]), 0
    for guess in guesses:
        if guess.suffix == tuple(truth[guess.example]):
            solved_N[guess.example] = 1.0
        else:
            wrong += 1
        if wrong == errors:
            break
    return solved_N
