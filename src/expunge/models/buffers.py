"""Tensors in old checkpoints that are no weights: masks and rotary tables, which the model computes itself today."""

from __future__ import annotations

import re
from collections.abc import Sequence

# gpt2 and gptj have attn.bias, gpt2 with cross-attention crossattention.bias, gpt_neo attn.attention.bias, gpt_neox
# attention.bias, codegen attn.causal_mask.
_MASK = re.compile(r"(^|\.)(\w*attn|\w*attention)\.(bias|causal_mask)$")
_MASKED_VALUE = re.compile(r"(^|\.)(\w*attn|\w*attention)\.masked_bias$")
_ROTARY = re.compile(r"(^|\.)rotary_emb\.(original_)?inv_freq$")


def is_left_over(name: str, shape: Sequence[int]) -> bool:
    """Whether a tensor of a checkpoint is such a buffer, by name and shape.

    A bias that was trained has the name of a mask in some architectures; it has one dimension, and a mask has two or
    four that end in a square.

    Args:
        name: of the tensor in the file.
        shape: its lengths.
    """
    if _MASK.search(name):
        return len(shape) in (2, 4) and shape[-1] == shape[-2] and all(size == 1 for size in shape[:-2])
    if _MASKED_VALUE.search(name):
        return all(size == 1 for size in shape)
    return _ROTARY.search(name) is not None and len(shape) == 1
