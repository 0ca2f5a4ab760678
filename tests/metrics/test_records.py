"""Means over what is known, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from expunge.metrics.records import known_mean, per_record

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "mean"),
    [([1.0, 4.0], 2.5), ([1.0, NAN, 4.0], 2.5), ([NAN, 3.0], 3.0), ([NAN, NAN], NAN), ([], NAN), ([0.0], 0.0)],
)
@pytest.mark.parametrize("shape", [list, np.array])
def test_unknown_values_do_not_count(values, mean, shape):
    found = known_mean(shape(values))
    assert type(found) is float
    assert found == mean or (math.isnan(found) and math.isnan(mean))


def test_forms_of_one_record_are_averaged():
    found = per_record([[1.0, NAN, 2.0], [], [NAN]], float)
    assert found[0] == 1.5
    assert np.isnan(found[1:]).all()
