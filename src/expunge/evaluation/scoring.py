"""Scores of what a model says, made batch by batch: the texts of a batch are gone before the next one is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from expunge.data.record import Record
from expunge.evaluation.journal import UNKEPT, Pages
from expunge.evaluation.passes import Placed
from expunge.evaluation.replies import Asking, Scorer, asked_records, replies_of, scorer, whole_prompts
from expunge.evaluation.speaking import Speaker, Turn, turns
from expunge.metrics.base import Answer, Floats, Need
from expunge.models.load import LoadedModel


class _Spoken(NamedTuple):
    """What is asked, as records and as tokens, and what makes numbers of the replies."""

    splits: Mapping[str, Sequence[Record]]
    asking: Asking
    found: list[Placed]
    prompts: list[list[int]]
    scorers: list[Scorer]


def score_batches(
    loaded: LoadedModel,
    splits: Mapping[str, Sequence[Record]],
    asking: Asking,
    needs: Sequence[Need],
    *,
    max_length: int,
    batch_size: int,
    pages: Pages = UNKEPT,
) -> dict[Need, Answer]:
    """Answers needs that read the same replies of a model without a policy.

    The numbers are those of ``score_replies`` on all of ``generate_replies`` together, for scorers that look at one
    reply at a time, as all do.

    Args:
        loaded: the model.
        splits: records by split.
        asking: what all the needs ask.
        needs: none of them for a judge.
        max_length: longest record, tokens.
        batch_size: prompts in one batch.
        pages: of the needs; a batch that they know is not said again.
    """
    found = asked_records(splits, asking)
    prompts = whole_prompts(loaded, [one.record for one in found], max_length)
    spoken = _Spoken(splits, asking, found, prompts, [scorer(need) for need in needs])
    order = turns(loaded, prompts, asking.max_new_tokens, batch_size)
    answers: list[list[list[Any]]] = [[[] for _ in splits[asking.split]] for _ in needs]
    for draw in range(asking.draws):
        scores = _score_draw(Speaker(loaded, asking.sampling, draw), spoken, order, draw, pages)
        for answer, own in zip(answers, scores, strict=True):
            for row in sorted(own):
                answer[found[row].owner].append(own[row])
    return dict(zip(needs, answers, strict=True))


def _score_draw(
    speaker: Speaker, spoken: _Spoken, order: Sequence[Turn], draw: int, pages: Pages
) -> list[dict[int, Floats]]:
    """For each scorer the numbers of one draw, by the place of what was asked."""
    scores: list[dict[int, Floats]] = [{} for _ in spoken.scorers]
    for turn in order:
        numbers = [draw * len(spoken.found) + row for row in turn.rows]
        heard = pages.once(numbers, partial(_score_turn, speaker, spoken, turn))
        for own, (*values, state) in zip(scores, heard, strict=True):
            own.update(zip(turn.rows, values, strict=True))
            if len(state):
                speaker.stream(turn).state = state.tobytes()  # where the next turn is drawn from
    return scores


def _score_turn(speaker: Speaker, spoken: _Spoken, turn: Turn) -> list[list[Floats]]:
    """For each scorer its numbers, and where the stream of draws is after them, its bytes taken for float64."""
    said = zip(turn.rows, speaker.say(turn, spoken.prompts), strict=True)
    replies = replies_of(spoken.splits, spoken.asking, [(spoken.found[row], text) for row, text in said])
    state = speaker.stream(turn).state if spoken.asking.sampling else b""
    after = np.frombuffer(state, dtype=np.float64)
    return [[*(np.asarray(one, dtype=np.float64) for one in score(replies)), after] for score in spoken.scorers]
