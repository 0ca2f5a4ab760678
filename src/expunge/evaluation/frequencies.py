"""How frequent a record's tokens are in a split; read off token ids, without a forward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from expunge.data.batch import IGNORE, Example
from expunge.data.record import Record
from expunge.evaluation.passes import Encoded, Pass, encoded
from expunge.metrics.base import Answer, Need


def frequency_answer(
    tokenizer: Any, splits: Mapping[str, Sequence[Record]], texts: Encoded, need: Need, max_length: int
) -> Answer:
    """Answers a need of kind ``token_frequency``: (T, 2) for each example of ``texts``."""
    corpus = encoded(splits, Pass(str(need.beside), "trained"), tokenizer, max_length).examples
    counts = Counter(token for example in corpus for token in scored_tokens(example))
    return texts.by_record([token_frequencies(example, counts, len(tokenizer)) for example in texts.examples])


def token_frequencies(example: Example, counts: Mapping[int, int], vocabulary: int) -> Any:
    """Returns (T, 2): log((count + 1) / (all + vocabulary)), nats, and whether the token stands for the first time.

    Args:
        example: a tokenised record.
        counts: how often each token occurs in the corpus.
        vocabulary: number of tokens there are.
    """
    places = _scored_places(example)
    total = sum(counts.values()) + vocabulary
    ids = [example.input_ids[place] for place in places]
    shares = [np.log((counts.get(token, 0) + 1) / total) for token in ids]
    fresh = [example.input_ids.index(token) == place for token, place in zip(ids, places, strict=True)]
    return np.array([shares, fresh], dtype=np.float64).T.reshape(-1, 2)


def scored_tokens(example: Example) -> list[int]:
    """Ids of the tokens that count."""
    return [example.input_ids[place] for place in _scored_places(example)]


def _scored_places(example: Example) -> list[int]:
    """Places whose label counts; the first token has no prediction."""
    return [place for place, label in enumerate(example.labels) if place and label != IGNORE]
