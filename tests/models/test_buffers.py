"""Which tensors of old checkpoints are not weights."""

from __future__ import annotations

import pytest

from expunge.models.buffers import is_left_over


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("transformer.h.0.attn.bias", [1, 1, 64, 64], True),
        ("transformer.h.0.attn.bias", [64, 64], True),
        ("transformer.h.0.attn.attention.bias", [1, 1, 64, 64], True),
        ("gpt_neox.layers.0.attention.bias", [1, 1, 64, 64], True),
        ("transformer.h.0.attn.causal_mask", [1, 1, 64, 64], True),
        ("transformer.h.0.attn.masked_bias", [], True),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", [8], True),
        ("transformer.h.0.attn.bias", [64], False),  # a bias that was trained
        ("transformer.h.0.attn.bias", [64, 32], False),  # not a square
        ("transformer.h.0.attn.bias", [2, 1, 64, 64], False),  # not one mask for all heads and records
        ("transformer.h.0.attn.masked_bias", [64], False),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", [8, 8], False),
        ("model.layers.0.mlp.bias", [64, 64], False),
    ],
)
def test_masks_and_tables_by_name_and_shape(name, shape, expected):
    assert is_left_over(name, shape) is expected
