"""Random labels: uniform over all that is not special but the true one."""

from __future__ import annotations

from collections import Counter

import pytest

from expunge.data.batch import IGNORE, Example
from expunge.errors import InputError
from expunge.models.relabel.random_token import RandomToken
from expunge.models.relabel.vocabulary import vocabulary_of
from tests.models.conftest import VOCABULARY, build, make_tokenizer
from tests.models.relabel.records import task

IDS = (1, 5, 6, 7, 8, 9, 10, 2)
LABELS = (1, IGNORE, 6, 7, 8, 9, 10, 2)


def given(seed: int = 0, model: str = "llama"):
    return task(seed, model=build(model), tokenizer=make_tokenizer())


def test_labels_by_hand():
    """The first token predicts nothing, the end is special: five labels may change and all do."""
    (found,) = RandomToken().relabel_tokens([Example(IDS, LABELS, 4)], given())
    assert found.labels[:2] == (1, IGNORE)
    assert found.labels[-1] == 2
    assert all(new != old for new, old in zip(found.labels[2:-1], IDS[2:-1], strict=True))
    assert found.labels == (1, IGNORE, 62, 26, 62, 67, 74, 2)  # golden


@pytest.mark.parametrize(("share", "changed"), [(1.0, 5), (0.6, 3), (0.3, 2), (0.01, 1)])
def test_the_share_is_that_of_the_labels_that_may_change(share, changed):
    (found,) = RandomToken(share=share).relabel_tokens([Example(IDS, LABELS, 0)], given())
    assert sum(new != old for new, old in zip(found.labels, LABELS, strict=True)) == changed


def test_uniform_over_the_others():
    rows = [Example((1, 7), (IGNORE, 7), row) for row in range(9300)]
    counts = Counter(one.labels[1] for one in RandomToken().relabel_tokens(rows, given()))
    assert set(counts) == set(range(3, VOCABULARY)) - {7}
    assert min(counts.values()) > 55
    assert max(counts.values()) < 150


def test_rows_seeds_and_samples_draw_differently():
    rows = [Example(IDS, LABELS, row) for row in range(2)]
    found = {
        one.labels
        for seed, sample in ((0, 0), (0, 1), (1, 0))
        for one in RandomToken().relabel_tokens(rows, given(seed), sample)
    }
    assert len(found) == 6


def test_rows_of_the_model_without_a_token_are_no_labels():
    assert vocabulary_of(make_tokenizer(), build("llama", vocab_size=120)).plain == list(range(3, VOCABULARY))
    assert vocabulary_of(make_tokenizer(), build("llama", vocab_size=50)).plain == list(range(3, 50))


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_shares_that_cannot_be_meant_are_refused(share):
    with pytest.raises(InputError, match="share"):
        RandomToken(share=share)
