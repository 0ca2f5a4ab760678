"""Prompts continued batch by batch, greedily or by drawing, so that any batch can be said without those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from expunge.data.tokenize import end_mark
from expunge.metrics.base import Sampling
from expunge.models.generate import Draws, greedy, sampled
from expunge.models.load import LoadedModel

DRAWS = 1_000_003  # seeds of two draws differ, whatever the seed of the metric


class Turn(NamedTuple):
    """One batch of prompts: how many new tokens there is room for, and the numbers of the prompts."""

    limit: int
    rows: list[int]


def turns(loaded: LoadedModel, prompts: Sequence[Sequence[int]], max_new_tokens: int, batch_size: int) -> list[Turn]:
    """Returns batches of prompts with equal room, longest first; empty ones and those without room are in none.

    A reply stops earlier where the model has no positions left, whatever its company.
    """
    limits = [loaded.limit(len(prompt) + max_new_tokens) - len(prompt) if prompt else 0 for prompt in prompts]
    found: list[Turn] = []
    for limit in sorted({limit for limit in limits if limit > 0}):
        rows = [row for row, own in enumerate(limits) if own == limit]
        rows.sort(key=lambda row: (-len(prompts[row]), row))
        found += [Turn(limit, rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]
    return found


def draw_seed(sampling: Sampling | None, draw: int) -> int:
    """Returns the seed of one of several draws."""
    return (sampling.draw_seed if sampling else 0) * DRAWS + draw


class Speaker:
    """A model that continues prompts turn by turn, greedily or in one of several draws.

    Turns of one limit are drawn from one stream, so they are heard in order, or the stream is put where it was.
    """

    def __init__(self, loaded: LoadedModel, sampling: Sampling | None, draw: int) -> None:
        self._loaded, self._sampling, self._draw = loaded, sampling, draw
        self._streams: dict[int, Draws] = {}

    def say(self, turn: Turn, prompts: Sequence[Sequence[int]]) -> list[str]:
        """Returns the continuations of the prompts of a turn."""
        model, tokenizer = self._loaded.model, self._loaded.tokenizer
        asked, size = [prompts[row] for row in turn.rows], len(turn.rows)
        if self._sampling is None:
            new = greedy(model, tokenizer, asked, max_new_tokens=turn.limit, batch_size=size)
        else:
            new = sampled(
                model,
                tokenizer,
                asked,
                max_new_tokens=turn.limit,
                seed=self.stream(turn),
                temperature=self._sampling.temperature,
                top_p=self._sampling.top_p,
                batch_size=size,
            )
        mark = end_mark(tokenizer)
        texts = [str(tokenizer.decode(tokens, skip_special_tokens=True)) for tokens in new]
        # Generation stops at a mark that is a token; any other mark is text.
        return [text.split(mark.text)[0] for text in texts] if mark.text and not mark.is_token else texts

    def stream(self, turn: Turn) -> Draws:
        """Returns what a turn is drawn from."""
        if turn.limit not in self._streams:
            self._streams[turn.limit] = Draws(self._loaded.model.device, draw_seed(self._sampling, self._draw))
        return self._streams[turn.limit]
