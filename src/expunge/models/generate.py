"""Greedy continuations of many prompts: the same tokens as one prompt at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig


@torch.inference_mode()
def greedy(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, batch_size: int = 32
) -> list[list[int]]:
    """Continues each prompt with the most likely token until the end-of-sequence token or the limit.

    Args:
        model: a transformers causal language model in evaluation mode.
        tokenizer: gives the end-of-sequence id.
        prompts: token ids, special tokens included.
        max_new_tokens: limit of new tokens.
        batch_size: prompts in one batch, longest first, padded on the left.

    Returns:
        New token ids of each prompt, without the end-of-sequence token.
    """
    eos = tokenizer.eos_token_id
    pad = eos if eos is not None else 0
    # A fresh configuration: the model's own may hold sampling or repetition penalties.
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, eos_token_id=eos, pad_token_id=pad, bos_token_id=None
    )
    order = sorted(range(len(prompts)), key=lambda row: (-len(prompts[row]), row))
    found: list[list[int]] = [[] for _ in prompts]
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        width = max(len(prompts[row]) for row in rows)
        ids = torch.full((len(rows), width), pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):
            size = len(prompts[row])
            ids[place, width - size :] = torch.tensor(prompts[row])
            mask[place, width - size :] = 1
        output = model.generate(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=config
        )
        for place, row in enumerate(rows):
            new = output[place, width:].tolist()
            found[row] = new[: new.index(eos)] if eos in new else new
    return found
