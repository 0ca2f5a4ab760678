"""Tokens of a tokenizer that the embedding of its model has no row for."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from expunge.errors import InputError


def fit_vocabulary(tokenizer: Any, rows: int) -> None:
    """Makes a tokenizer fill up batches with a token that the model has, or refuses the tokenizer.

    A pad token beyond the embedding is replaced in memory: padding is masked, so no number depends on it. Other special
    tokens beyond it may stay as long as no text has them; ``guard_embedding`` refuses such a text.

    Args:
        tokenizer: changed in place.
        rows: number of rows of the model's embedding.

    Raises:
        InputError: the start or end token, or an ordinary token, has no row.
    """
    for role in ("bos_token", "eos_token", "unk_token"):
        if (token := getattr(tokenizer, f"{role}_id", None)) is not None and token >= rows:
            raise InputError(
                f"The {role} {getattr(tokenizer, role)!r} of the tokenizer has the id {token}, and the embedding of "
                f"the model has {rows} rows (ids 0 to {rows - 1}). Resize the embedding "
                "(model.resize_token_embeddings) and train it, or use the tokenizer that the model was trained with."
            )
    added = tokenizer.added_tokens_decoder
    ordinary = sorted(number for number in tokenizer.get_vocab().values() if number >= rows and number not in added)
    if ordinary:
        raise InputError(
            f"The tokenizer has {len(ordinary)} tokens with ids from {ordinary[0]} to {ordinary[-1]}, and the "
            f"embedding of the model has {rows} rows (ids 0 to {rows - 1}), so this is the tokenizer of another "
            "model. Use the one that the model was trained with."
        )
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= rows:
        tokenizer.pad_token = tokenizer.eos_token


def guard_embedding(model: nn.Module, tokenizer: Any) -> None:
    """Refuses texts with a token that has no row, where the tokenizer has such tokens.

    Without such tokens the model is left alone. Torch itself would fail without a reason on the CPU and stop the whole
    process on a GPU.
    """
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    rows = int(embedding.weight.shape[0])
    beyond = {number: token for token, number in tokenizer.get_vocab().items() if number >= rows}
    if beyond:
        embedding.register_forward_pre_hook(partial(_check_ids, rows, beyond))


def _check_ids(rows: int, beyond: dict[int, str], _: nn.Module, args: tuple[Tensor, ...]) -> None:
    if args and args[0].numel() and (largest := int(args[0].max())) >= rows:
        raise InputError(
            f"A text contains the token {beyond.get(largest, '')!r} with the id {largest}, and the embedding of the "
            f"model has {rows} rows. Resize the embedding and train it, or remove the token from the records or from "
            "the chat template."
        )
