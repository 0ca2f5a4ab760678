"""Batches for evaluation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from expunge.data.batching import length_buckets


def test_by_hand():
    assert length_buckets([5, 2, 9, 2, 4], 2) == [[1, 3], [4, 0], [2]]
    # 2 and 2 fill 4 of 10 tokens, 4 would make it 12; 4 and 5 make 10; 9 stands alone, and so does what never fits
    assert length_buckets([5, 2, 9, 2, 4], 8, max_tokens=10) == [[1, 3], [4, 0], [2]]
    assert length_buckets([50, 60], 8, max_tokens=10) == [[0], [1]]
    assert length_buckets([], 8) == []


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 7), st.none() | st.integers(1, 200))
def test_every_row_once_within_the_limits(lengths, batch_size, max_tokens):
    buckets = length_buckets(lengths, batch_size, max_tokens)
    rows = [row for bucket in buckets for row in bucket]
    assert sorted(rows) == list(range(len(lengths)))
    assert [lengths[row] for row in rows] == sorted(lengths)
    for bucket in buckets:
        assert 1 <= len(bucket) <= batch_size
        assert max_tokens is None or len(bucket) == 1 or len(bucket) * max(lengths[row] for row in bucket) <= max_tokens
    assert max_tokens is not None or len(buckets) == -(-len(lengths) // batch_size)
