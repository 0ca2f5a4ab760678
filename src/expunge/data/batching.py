"""Batches for evaluation: records of like length together."""

from __future__ import annotations

from collections.abc import Sequence


def length_buckets(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Returns rows in batches of at most ``batch_size``, shortest first; deterministic."""
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row], row))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
