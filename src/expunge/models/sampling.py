"""Text that a model writes by itself, for a retain set where there is none (``--retain self``)."""

from __future__ import annotations

from typing import Any

import torch
from transformers import GenerationConfig

from expunge.errors import InputError
from expunge.models.generate import replaced_generation_config, seeded
from expunge.models.modes import evaluating


@torch.inference_mode()
def sample_texts(
    model: Any, tokenizer: Any, *, count: int, max_new_tokens: int, seed: int, batch_size: int = 32
) -> list[str]:
    """Samples texts at temperature 1 from the beginning-of-sequence token; no global random state is left changed.

    Args:
        model: a transformers causal language model in evaluation mode.
        tokenizer: its tokenizer.
        count: number of texts.
        max_new_tokens: longest text, tokens.
        seed: the same seed gives the same texts.
        batch_size: texts in one batch.

    Raises:
        InputError: the tokenizer has neither a beginning-of-sequence nor an end-of-sequence token to start from.
    """
    eos = tokenizer.eos_token_id
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else eos
    if start is None:
        raise InputError(
            "The tokenizer has no token that begins or ends a text, so the model cannot write text from nothing; "
            "hand in a retain file."
        )
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=eos,
        pad_token_id=eos if eos is not None else 0,
    )
    texts: list[str] = []
    with seeded(model.device, seed), evaluating(model), replaced_generation_config(model, config):
        while len(texts) < count:
            ids = torch.full((min(batch_size, count - len(texts)), 1), start, device=model.device)
            output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
            texts += tokenizer.batch_decode(output, skip_special_tokens=True)
    return [text for text in texts if text.strip()]
