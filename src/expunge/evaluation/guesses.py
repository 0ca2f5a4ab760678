"""Guesses of the tokens that follow known prefixes, drawn from a model: the extraction challenge's attack.

Carlini et al., 2022, https://github.com/google-research/lm-extraction-benchmark: several draws for each prefix, the
likeliest kept, all sorted by likelihood. The likelihood is of the suffix alone, all of its tokens and none of the
prefix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expunge.data.batch import IGNORE, Example
from expunge.errors import InputError
from expunge.evaluation.forward import read_examples
from expunge.evaluation.speaking import DRAWS
from expunge.functional.guesses import MAX_GUESSES, Guess, format_guesses
from expunge.metrics.base import Numbers
from expunge.models.generate import sampled
from expunge.models.load import LoadedModel
from expunge.storage import atomic


@dataclass(frozen=True, kw_only=True)
class Guessing:
    """How suffixes are guessed.

    Attributes:
        length: tokens of a suffix.
        samples: draws for each prefix.
        keep: guesses of each prefix that are handed on, the likeliest ones.
        temperature: divides the logits.
        top_k: most likely tokens that are drawn from; 0 for all.
        top_p: share of the probability that is drawn from.
        draw_seed: of the draws.
    """

    length: int = 50
    samples: int = 16
    keep: int = 1
    temperature: float = 1.0
    top_k: int = 10
    top_p: float = 1.0
    draw_seed: int = 0

    def __post_init__(self) -> None:
        if min(self.length, self.samples, self.keep) < 1:
            raise InputError(f"length={self.length}, samples={self.samples}, keep={self.keep}: all are at least 1.")
        if self.temperature <= 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise InputError(
                f"temperature={self.temperature}, top_k={self.top_k}, top_p={self.top_p}: draw at a temperature above "
                "0, from no negative number of tokens, and from a share above 0 and at most 1."
            )


def guess_suffixes(
    loaded: LoadedModel, prefixes: Mapping[int, Sequence[int]], guessing: Guessing, *, batch_size: int
) -> list[Guess]:
    """Returns guesses, the surest first, at most 100,000.

    Equal draws are one guess. A draw that ends before ``length`` tokens is none: a prefix may be left without a guess.

    Args:
        loaded: the model.
        prefixes: token ids before each example's suffix, special tokens included.
        guessing: settings.
        batch_size: sequences in one batch; other batches make other draws.

    Raises:
        InputError: an empty prefix, or more positions than the model has.
        DivergedError: log-probabilities that are not numbers.
    """
    drawn = _draw(loaded, prefixes, guessing, batch_size)
    nats_G = suffix_nats(loaded, prefixes, drawn, batch_size=batch_size)
    order = sorted(range(len(drawn)), key=lambda row: (nats_G[row], drawn[row]))
    kept: list[Guess] = []
    counts: dict[int, int] = dict.fromkeys(prefixes, 0)
    for row in order:
        example = drawn[row].example
        if counts[example] < guessing.keep:
            counts[example] += 1
            kept.append(drawn[row])
    return kept[:MAX_GUESSES]


def write_guesses(path: Path, guesses: Sequence[Guess]) -> None:
    """Writes a guess file, whole or not at all, readable by its owner only: it may hold training data.

    Raises:
        InputError: more than 100,000 guesses, or a place that cannot be written to.
        ResourceError: the disk is full.
    """
    atomic.write_text(path, format_guesses(guesses))


def suffix_nats(
    loaded: LoadedModel, prefixes: Mapping[int, Sequence[int]], guesses: Sequence[Guess], *, batch_size: int
) -> list[float]:
    """Returns the mean negative log-likelihood, nats per token, of each guess's suffix after its prefix."""
    examples = [
        Example((*prefixes[example], *suffix), (*[IGNORE] * len(prefixes[example]), *suffix), row)
        for row, (example, suffix) in enumerate(guesses)
    ]
    logps = Numbers("token_logps")
    found = read_examples(loaded, examples, [logps], batch_size=batch_size, where="guesses")[logps]
    return [-float(np.mean(logps_T)) for logps_T in found]


def _draw(
    loaded: LoadedModel, prefixes: Mapping[int, Sequence[int]], guessing: Guessing, batch_size: int
) -> list[Guess]:
    """Every whole suffix that was drawn, once for each prefix."""
    drawn: dict[Guess, None] = {}
    for draw in range(guessing.samples):
        said = sampled(
            loaded.model,
            loaded.tokenizer,
            list(prefixes.values()),
            max_new_tokens=guessing.length,
            seed=guessing.draw_seed * DRAWS + draw,
            temperature=guessing.temperature,
            top_p=guessing.top_p,
            top_k=guessing.top_k,
            batch_size=batch_size,
        )
        pairs = zip(prefixes, said, strict=True)
        drawn.update(dict.fromkeys(Guess(example, tuple(ids)) for example, ids in pairs if len(ids) == guessing.length))
    return list(drawn)
