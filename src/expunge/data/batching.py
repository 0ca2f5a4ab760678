"""Batches for evaluation: records of like length together."""

from __future__ import annotations

from collections.abc import Sequence


def length_buckets(lengths: Sequence[int], batch_size: int, max_tokens: int | None = None) -> list[list[int]]:
    """Returns rows in batches of at most ``batch_size``, shortest first; deterministic.

    Args:
        lengths: number of tokens of each row.
        batch_size: most rows in one batch.
        max_tokens: most tokens in one batch, padding included; a longer row stands alone.
    """
    buckets: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (lengths[row], row)):
        size = len(buckets[-1]) + 1 if buckets else 0
        # Rows come in order of length, so the newest one sets the width of its batch.
        fits = 0 < size <= batch_size and (max_tokens is None or size * lengths[row] <= max_tokens)
        if fits:
            buckets[-1].append(row)
        else:
            buckets.append([row])
    return buckets
