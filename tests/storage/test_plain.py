from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.storage.plain import from_json, to_json
from expunge.storage.secret import Secret

KEYS = st.text(max_size=8) | st.sampled_from(["$float", "$$float", "$$$float", "float", "$"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["nan", "inf", "-inf"])
PLAIN = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)


def same(one, other):
    """Equality in which NaN equals NaN, 1 differs from True and 1.0, 0.0 from -0.0, and the order of keys counts."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return one == other


@given(PLAIN)
def test_everything_plain_comes_back_bit_for_bit(value):
    for indent in (None, 2):
        text = to_json(value, indent=indent)
        assert same(from_json(text), value)
        assert text.isascii()
        json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_by_hand():
    value = {"b": math.inf, "a": [1, (2.5, None)], "$float": "nan"}
    assert to_json(value) == '{"b": {"$float": "inf"}, "a": [1, [2.5, null]], "$float": "nan"}'
    assert to_json(-math.inf) == '{"$float": "-inf"}'
    assert to_json({"$float": "nan"}) == '{"$$float": "nan"}'
    assert math.isnan(from_json('{"$float": "nan"}'))
    assert from_json('{"$float": "nan", "x": 1}') == {"$float": "nan", "x": 1}


def test_numpy_float64_is_a_float():
    assert to_json([np.float64(0.1), np.float64("nan")]) == '[0.1, {"$float": "nan"}]'


@pytest.mark.parametrize("value", [Secret("quokka", "record 1"), b"quokka", {"quokka"}, object(), np.float32(1)])
def test_other_things_are_refused_without_being_shown(value):
    for wrapped in (value, [value], {"a": {"b": value}}):
        with pytest.raises(TypeError, match="not plain data") as caught:
            to_json(wrapped)
        assert "quokka" not in str(caught.value)


def test_keys_must_be_text():
    with pytest.raises(TypeError, match="key of type int"):
        to_json({1: 2})


@pytest.mark.parametrize(
    "text",
    ["", "{", "NaN", "[Infinity]", '{"$float": "1"}', '{"$float": 1}', '{"quokka": 1', "[" * 100_000, b"\xff\xfe"],
    ids=range(9),
)
def test_bad_json_is_a_value_error_that_shows_nothing(text):
    with pytest.raises(ValueError, match="^not valid JSON$") as caught:
        from_json(text)
    assert type(caught.value) is ValueError
    assert caught.value.__suppress_context__
