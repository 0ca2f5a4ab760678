"""Continuations of texts from places inside them, on token ids, and how much of the true rest they hold.

EL_n and MA: Jang et al., 2022, https://arxiv.org/abs/2210.01504.
Verbatim memorisation: Shi et al. (MUSE), 2024, https://arxiv.org/abs/2407.06460.

The whole text of a record is every token that the model reads, up to the last one of its answer: the start token that
the tokenizer adds, the template and the prompt count. The mark that ends the answer does not, since a
continuation is handed on without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from expunge.data.batch import IGNORE, Example
from expunge.evaluation.forward import read_examples
from expunge.evaluation.journal import UNKEPT, Pages
from expunge.functional.extraction import ngram_overlap
from expunge.functional.rouge import rouge_l
from expunge.functional.words import SPLITS, Tokens
from expunge.metrics.base import Numbers
from expunge.models.generate import greedy
from expunge.models.load import LoadedModel

Ids = tuple[int, ...]
Judge = Callable[[int, Sequence[int]], float]  # (number of the start, token ids after it): a number of them


class Start(NamedTuple):
    """Where a continuation begins: the tokens before it, and how many are wanted."""

    prefix: Ids
    wanted: int


def extraction_likelihoods(
    loaded: LoadedModel, examples: Sequence[Example], *, batch_size: int, n: int, stride: int, pages: Pages = UNKEPT
) -> list[float]:
    """Returns EL_n of each whole text; NaN where it has no more than n tokens.

    ``EL_n(x) = mean over t of overlap_n(f(x_<t), x_>=t)``, t = 1, 1 + stride, ... up to T - n, ``f`` the greedy
    continuation of equal length. The start token counts as the first of T where there is one.

    Args:
        loaded: the model.
        examples: tokenised records.
        batch_size: prefixes in one batch.
        n: tokens of an n-gram.
        stride: distance of the places that a text is continued from; 1 for all of them, as in the paper.
        pages: of the need.
    """
    texts = [whole_text(example) for example in examples]
    places = [range(1, len(text) - n + 1, stride) for text in texts]
    cuts = [(text, place) for text, its in zip(texts, places, strict=True) for place in its]
    starts = [Start(text[:place], len(text) - place) for text, place in cuts]

    def overlap(row: int, said: Sequence[int]) -> float:
        text, place = cuts[row]
        return ngram_overlap(said, text[place:], n)

    overlaps = iter(judge_continuations(loaded, starts, batch_size, overlap, pages))
    return [float(np.mean([next(overlaps) for _ in its])) if its else math.nan for its in places]


def memorisation_accuracies(
    loaded: LoadedModel, examples: Sequence[Example], *, batch_size: int, pages: Pages = UNKEPT
) -> list[float]:
    """Returns MA of each whole text: the share of its tokens, but the first, that are the model's first choice.

    NaN where there is no second token.
    """
    texts = [whole_text(example) for example in examples]
    rows = [row for row, text in enumerate(texts) if len(text) > 1]
    ranks = Numbers("ranks")
    read = [replace(examples[row], input_ids=texts[row], labels=texts[row]) for row in rows]
    found = read_examples(loaded, read, [ranks], batch_size=batch_size, where="whole texts", pages=pages)[ranks]
    values = [math.nan] * len(texts)
    for row, ranks_T in zip(rows, found, strict=True):
        values[row] = float(np.mean(ranks_T == 0))
    return values


def verbatim_rouges(
    loaded: LoadedModel,
    examples: Sequence[Example],
    *,
    batch_size: int,
    prefix: int,
    max_new_tokens: int,
    split: Tokens = "unicode",
    pages: Pages = UNKEPT,
) -> list[float]:
    """Returns ROUGE-L F1 of each greedy continuation against as many tokens of the true one, by default without stems.

    NaN where no token is left to be said, or none stands before it.

    Args:
        loaded: the model.
        examples: tokenised records.
        batch_size: prefixes in one batch.
        prefix: scored tokens that are given, after all that stands before them.
        max_new_tokens: longest continuation; no longer than the true one.
        split: how texts are split into words.
        pages: of the need.
    """
    parts = [_split(example, prefix, max_new_tokens) for example in examples]
    rows = [row for row, (before, rest) in enumerate(parts) if before and rest]
    starts = [Start(parts[row][0], len(parts[row][1])) for row in rows]

    def rouge(place: int, new: Sequence[int]) -> float:
        rest = parts[rows[place]][1]
        said, truth = (loaded.tokenizer.decode(list(ids), skip_special_tokens=True) for ids in (new, rest))
        return rouge_l(said, truth, SPLITS[split]).f1

    values = [math.nan] * len(examples)
    for row, value in zip(rows, judge_continuations(loaded, starts, batch_size, rouge, pages), strict=True):
        values[row] = value
    return values


def _split(example: Example, prefix: int, max_new_tokens: int) -> tuple[Ids, Ids]:
    """What is given of a text, and what should follow."""
    text = whole_text(example)
    first = next((place for place, label in enumerate(example.labels) if label != IGNORE), len(text))
    given = min(first + prefix, len(text))
    return text[:given], text[given : given + max_new_tokens]


def whole_text(example: Example) -> Ids:
    """Returns the token ids up to the last scored one, without the mark that ends it; none where none is scored."""
    last = max((place + 1 for place, label in enumerate(example.labels) if label != IGNORE), default=0)
    return example.input_ids[: last if example.end is None else min(last, example.end)]


def judge_continuations(
    loaded: LoadedModel, starts: Sequence[Start], batch_size: int, judge: Judge, pages: Pages = UNKEPT
) -> list[float]:
    """Returns a number of the greedy continuation of each prefix; what was said is gone with its batch.

    A continuation is at most as long as wanted, and shorter where the model ended it.
    """
    values = [math.nan] * len(starts)
    pages.expect(len(starts))
    for rows in _batches(loaded, starts, batch_size):
        (found,) = pages.once(rows, partial(_judged, loaded, starts, rows, judge))
        for row, value in zip(rows, found, strict=True):
            values[row] = float(value)
    return values


def _judged(loaded: LoadedModel, starts: Sequence[Start], rows: Sequence[int], judge: Judge) -> list[list[float]]:
    new = greedy(
        loaded.model,
        loaded.tokenizer,
        [starts[row].prefix for row in rows],
        max_new_tokens=max(starts[row].wanted for row in rows),
        batch_size=len(rows),
    )
    return [[judge(row, ids[: starts[row].wanted]) for row, ids in zip(rows, new, strict=True)]]


def _batches(loaded: LoadedModel, starts: Sequence[Start], batch_size: int) -> Iterator[list[int]]:
    """Starts that want about as much together, so that little is generated in vain.

    All prefixes of a batch are continued as far as one of them wants: longest prefix and longest continuation must fit
    into the model's positions together.
    """
    batch: list[int] = []
    longest = 0
    for row in sorted(range(len(starts)), key=lambda row: (starts[row].wanted, len(starts[row].prefix), row)):
        prefix, wanted = len(starts[row].prefix), starts[row].wanted  # wanted is the most so far
        positions = max(longest, prefix) + wanted
        if batch and (len(batch) == batch_size or loaded.limit(positions) < positions):
            yield batch
            batch, longest = [], 0
        batch.append(row)
        longest = max(longest, prefix)
    if batch:
        yield batch
