"""Calibration error by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from expunge.errors import InputError
from expunge.functional.calibration import calibration_error

EXACT = 1e-12


def test_by_hand():
    """Bins (0.5, 1] and (0, 0.5]: |2 - 1.7| and |0 - 0.9|, over four."""
    confidence, correct = np.array([0.9, 0.8, 0.5, 0.4]), np.array([1.0, 1.0, 0.0, 0.0])
    assert calibration_error(confidence, correct, bins=2) == pytest.approx((0.3 + 0.9) / 4, abs=EXACT)
    assert calibration_error(confidence, correct, bins=1) == pytest.approx(0.6 / 4, abs=EXACT)


def test_ends_count_and_nothing_has_no_number():
    assert calibration_error(np.array([0.0, 1.0]), np.array([0.0, 1.0])) == 0
    assert calibration_error(np.array([1.0]), np.array([0.0])) == 1
    assert math.isnan(calibration_error(np.array([]), np.array([])))
    with pytest.raises(InputError, match="bins=0"):
        calibration_error(np.array([1.0]), np.array([1.0]), bins=0)
