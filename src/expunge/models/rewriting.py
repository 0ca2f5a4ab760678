"""A local model that says texts in other words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from expunge.data.templates import chat_template, write_turns
from expunge.models.generate import greedy, sampled
from expunge.models.load import LoadedModel

INSTRUCTION = (
    "Say the following in other words, in the same language. Keep every name, number, date and address exactly as it "
    "is. Reply with the new wording only."
)
SPARE = 16  # tokens that a wording may have beyond twice the original's


def request(text: str) -> str:
    """Returns what a model is asked for one text."""
    return f"{INSTRUCTION}\n\n{text}"


def rewrite(loaded: LoadedModel, texts: Sequence[str], attempt: int) -> list[str]:
    """Asks a model for other wordings: greedily at attempt 0, sampled with the attempt as seed after it.

    Returns:
        One reply for each text; empty where the model has no positions left for one.
    """
    tokenizer = loaded.tokenizer
    # Absent where positions have no limit (ALiBi).
    positions = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    replies = []
    for text in texts:
        prompt = _prompt(text, tokenizer)
        limit = int(min(2 * len(tokenizer(text)["input_ids"]) + SPARE, positions - len(prompt)))
        if limit < 1:
            replies.append("")
        elif attempt == 0:
            replies += _decode(greedy(loaded.model, tokenizer, [prompt], max_new_tokens=limit), tokenizer)
        else:
            new = sampled(loaded.model, tokenizer, [prompt], max_new_tokens=limit, seed=attempt)
            replies += _decode(new, tokenizer)
    return replies


def _prompt(text: str, tokenizer: Any) -> list[int]:
    if chat_template(tokenizer):
        whole = write_turns(tokenizer, [{"role": "user", "content": request(text)}], generation=True)
        return list(tokenizer(whole, add_special_tokens=False)["input_ids"])
    return list(tokenizer(f"{request(text)}\n\nIn other words:")["input_ids"])


def _decode(new: Sequence[Sequence[int]], tokenizer: Any) -> list[str]:
    return [str(tokenizer.decode(tokens, skip_special_tokens=True)) for tokens in new]
