"""Whether a model is right as often as it is sure. Guo et al., 2017, https://arxiv.org/abs/1706.04599."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.errors import InputError

Floats = NDArray[np.float64]


def calibration_error(confidence_N: Floats, correct_N: Floats, bins: int = 10) -> float:
    """Returns the expected calibration error: sum over bins of (n_b / N) |accuracy_b - mean confidence_b|, 0 to 1.

    Bins are of equal width and closed above; NaN without any number.

    Args:
        confidence_N: probability of the choice made, 0 to 1.
        correct_N: 1 where the choice was right, or a share of 1.
        bins: number of bins.

    Raises:
        InputError: less than one bin.
    """
    if bins < 1:
        raise InputError(f"bins={bins} leaves nowhere to put a number; give 1 or more.")
    if not len(confidence_N):
        return float("nan")
    places_N = np.clip(np.ceil(confidence_N * bins).astype(np.int64) - 1, 0, bins - 1)
    surplus_B = np.bincount(places_N, weights=correct_N - confidence_N, minlength=bins)
    return float(np.sum(np.abs(surplus_B)) / len(confidence_N))
