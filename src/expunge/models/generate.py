"""Continuations of many prompts: greedy, with the same tokens as one prompt at a time, or sampled.

Models with a recurrent state (rwkv, mamba, recurrent_gemma, mixtures with attention) read one prompt at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from expunge.data.tokenize import end_id, end_mark
from expunge.errors import InputError
from expunge.models.modes import evaluating
from expunge.models.modules import base_model

ATTENTION = frozenset({"attention", "full_attention", "sliding_attention", "chunked_attention"})  # padding is masked


def greedy(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, batch_size: int = 32
) -> list[list[int]]:
    """Continues each prompt with the most likely token until an end token or the limit; padding is on the left.

    Args:
        model: a causal language model, with or without a peft adapter; read in evaluation mode, which is restored.
        tokenizer: gives the end-of-sequence id, beside those of the model's generation configuration.
        prompts: token ids, special tokens included; at least one each.
        max_new_tokens: limit of new tokens.
        batch_size: prompts in one batch, longest first, so that lengths in a batch are close; 1 for recurrent models.

    Returns:
        New token ids of each prompt, in the order of the prompts, without the end token.

    Raises:
        InputError: an empty prompt, a limit or batch below 1, or more positions than the model has.
    """
    return _continuations(model, tokenizer, prompts, {}, max_new_tokens, batch_size)


def sampled(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    seed: int | Draws,
    temperature: float = 0.8,
    top_p: float = 0.95,
    top_k: int = 0,
    batch_size: int = 32,
) -> list[list[int]]:
    """Continues each prompt once by sampling; the global random state is left as it was.

    Args:
        model: as for ``greedy``.
        tokenizer: as for ``greedy``.
        prompts: token ids, special tokens included; at least one each.
        max_new_tokens: limit of new tokens.
        seed: the same seed and prompts give the same tokens; or a stream of draws, which goes on where it is.
        temperature: divides the logits.
        top_p: share of the probability that is drawn from.
        top_k: number of most likely tokens that are drawn from; 0 for all.
        batch_size: prompts in one batch, longest first.

    Returns:
        New token ids of each prompt, in the order of the prompts, without the end token.

    Raises:
        InputError: as for ``greedy``.
    """
    sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": top_k}
    inner: Any = base_model(model)
    with seed.going_on() if isinstance(seed, Draws) else seeded(inner.device, seed):
        return _continuations(model, tokenizer, prompts, sampling, max_new_tokens, batch_size)


def _continuations(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Mapping[str, Any],
    max_new_tokens: int,
    batch_size: int,
) -> list[list[int]]:
    inner: Any = base_model(model)
    _check(inner, prompts, max_new_tokens, batch_size)
    ends = _end_ids(inner, tokenizer)
    order = sorted(range(len(prompts)), key=lambda row: (-len(prompts[row]), row))
    found: list[list[int]] = [[] for _ in prompts]
    recurrent = _is_recurrent(inner)
    batch_size = 1 if recurrent else batch_size
    config = _config(ends, inner.get_input_embeddings().weight.shape[0], max_new_tokens, sampling)
    with torch.inference_mode(), evaluating(inner), replaced_generation_config(inner, config):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            ids_BT, mask_BT = _left_padded([prompts[row] for row in rows])
            if recurrent:  # recurrent_gemma keeps the last state in its layers; a pass without a cache clears it
                inner(input_ids=ids_BT[:, :1].to(inner.device), use_cache=False)
            output_BT = inner.generate(
                input_ids=ids_BT.to(inner.device), attention_mask=mask_BT.to(inner.device), generation_config=config
            )
            for row, new in zip(rows, output_BT[:, ids_BT.shape[1] :].tolist(), strict=True):
                found[row] = _until(new, ends)
    return found


def _is_recurrent(model: Any) -> bool:
    """Whether some layers keep a state other than keys and values: it reads the padding, or its steps are not exact."""
    # Absent if all layers have the same kind.
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or ()
    return bool(model._is_stateful) or not ATTENTION.issuperset(kinds)


def _check(model: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, batch_size: int) -> None:
    if max_new_tokens < 1 or batch_size < 1:
        raise InputError(f"max_new_tokens ({max_new_tokens}) and batch_size ({batch_size}) must be at least 1.")
    for number, prompt in enumerate(prompts):
        if not prompt:
            raise InputError(f"Prompt {number} has no tokens; begin it with the tokenizer's start token.")
    longest = max(map(len, prompts), default=0)
    # Absent where positions have no limit (ALiBi). Learned positions would fail inside the model, on a GPU silently.
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and longest + max_new_tokens > limit:
        raise InputError(
            f"A prompt of {longest} tokens and {max_new_tokens} new ones exceed the {limit} positions of the model; "
            "shorten the prompt or lower max_new_tokens."
        )


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """End tokens of the tokenizer, its template and the model: chat models end a turn with another one than a text."""
    mark = end_mark(tokenizer)
    ends = {tokenizer.eos_token_id, end_id(tokenizer), *(mark.ids if mark.is_token else ())}
    configured = model.generation_config.eos_token_id
    ends.update(configured if isinstance(configured, (list, tuple)) else [configured])
    return sorted(end for end in ends if end is not None)


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Seeds the generators that sampling on a device draws from, and puts them back as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for one in devices:
            torch.cuda.default_generators[one.index or 0].manual_seed(seed)
        yield


class Draws:
    """Random numbers that go on from one batch to the next, apart from the global ones.

    Batches that are sampled one after the other from one stream are those of one call of ``sampled`` with its seed.

    Args:
        device: that the model is on.
        seed: of the first batch.
    """

    def __init__(self, device: torch.device, seed: int) -> None:
        self._device = device
        with seeded(device, seed):
            self._state = self._generator.get_state()

    @property
    def _generator(self) -> torch.Generator:
        on_gpu = self._device.type == "cuda"
        return torch.cuda.default_generators[self._device.index or 0] if on_gpu else torch.default_generator

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Draws from the stream inside the block; the global random state is left as it was."""
        with seeded(self._device, 0):
            self._generator.set_state(self._state)
            yield
            self._state = self._generator.get_state()

    @property
    def state(self) -> bytes:
        """Where the stream is; put back, it goes on from there."""
        return bytes(self._state.tolist())

    @state.setter
    def state(self, state: bytes) -> None:
        self._state = torch.tensor(list(state), dtype=torch.uint8)


@contextmanager
def replaced_generation_config(model: Any, config: GenerationConfig) -> Iterator[None]:
    """Replaces the model's generation configuration for a while.

    Handing one to ``generate`` is not enough: what it leaves unset, such as a repetition penalty, is filled in from the
    model's own.
    """
    kept, model.generation_config = model.generation_config, config
    try:
        yield
    finally:
        model.generation_config = kept


def _config(ends: list[int], rows: int, max_new_tokens: int, sampling: Mapping[str, Any]) -> GenerationConfig:
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        num_beams=1,
        use_cache=True,
        eos_token_id=ends or None,
        # Masked before a prompt, cut off after an end token; an end that has no row is never written.
        pad_token_id=next((end for end in ends if end < rows), 0),
        **{"do_sample": False, **sampling},
    )


def _left_padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    width = max(map(len, prompts))
    ids_BT = torch.zeros(len(prompts), width, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for place, prompt in enumerate(prompts):
        ids_BT[place, width - len(prompt) :] = torch.tensor(prompt)
        mask_BT[place, width - len(prompt) :] = 1
    return ids_BT, mask_BT


def _until(tokens: list[int], ends: list[int]) -> list[int]:
    """Tokens before the first end token."""
    stop = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[:stop]
