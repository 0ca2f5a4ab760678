"""The logit lens: hidden states of an inner layer through the model's own final norm and output layer.

nostalgebraist, 2020, https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens.

Block outputs are read with hooks: the last entry of transformers' ``hidden_states`` has gone through the final norm
already, and would be normed twice.

Shapes: N positions, V vocabulary, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from expunge.data.batch import Example, collate
from expunge.errors import InputError
from expunge.models.modes import evaluating
from expunge.models.modules import base_model, blocks, output_head
from expunge.models.reading import read

TRIED = 8  # tokens of the one text that a lens is tried on
ROUNDING = 1e-3  # of the largest logit; another norm, or the right one twice, is off by far more


@dataclass(frozen=True, kw_only=True)
class Lens:
    """What a model does with its last hidden states, to be done with those of any layer.

    Attributes:
        norm: the final norm.
        head: the output layer.
        scale: what the logits are multiplied by afterwards (Cohere's ``logit_scale``, Granite's ``logits_scaling``).
        cap: soft cap of the logits (Gemma 2), ``cap * tanh(logit / cap)``; None without one. Neither scale nor cap
            changes a rank, both change probabilities.
    """

    norm: nn.Module
    head: nn.Module
    scale: float = 1.0
    cap: float | None = None

    def __call__(self, hidden_ND: Tensor) -> Tensor:
        """Logits (..., V) of block outputs (..., D), in the model's dtype."""
        logits_NV: Tensor = self.head(self.norm(hidden_ND)) * self.scale
        return logits_NV if self.cap is None else torch.tanh(logits_NV / self.cap) * self.cap


@torch.no_grad()
def lens_of(model: nn.Module) -> Lens:
    """Finds the lens of a model by structure and tries it: the last layer through it must give the model's own logits.

    The final norm is that child of the blocks' owner with one or two vectors of the model's width with which it does.

    Args:
        model: a causal language model, with or without a peft adapter.

    Raises:
        InputError: nothing of this form gives the model's own logits.
    """
    inner = base_model(model)
    last = len(blocks(model)) - 1
    ids = tuple(range(min(TRIED, inner.config.get_text_config().vocab_size)))  # type: ignore[union-attr, operator]
    batch = collate([Example(ids, ids, row=0)], pad_id=0).to(next(inner.parameters()).device)
    with evaluating(model):
        reading = read(model, batch, hidden_layers=(last,))
        hidden_ND, expected_NV = reading.hidden(last)[0, :-1], reading.logits
        for norm in _norms(model):
            lens = Lens(norm=norm, head=output_head(model), scale=_scale(inner), cap=_cap(inner))
            if _equal(lens(hidden_ND), expected_NV):
                return lens
    raise InputError(
        f"{type(inner).__name__} does more after its blocks than a norm and its output layer, or its final norm cannot "
        "be found, so its inner layers cannot be read. Leave out the attacks that read them."
    )


def _norms(model: nn.Module) -> list[nn.Module]:
    """Children of the blocks' owner that may be the final norm: one or two vectors of the model's width each."""
    inner, layers = base_model(model), blocks(model)
    width = inner.config.get_text_config().hidden_size  # type: ignore[union-attr, operator]
    if not any(parameter.ndim == 2 and parameter.shape[-1] == width for parameter in output_head(model).parameters()):
        return []  # it reads another width: something stands between
    owner = next(module for module in inner.modules() if any(child is layers for child in module.children()))
    shapes = {child: [tuple(parameter.shape) for parameter in child.parameters()] for child in owner.children()}
    return [child for child, found in shapes.items() if found in ([(width,)], [(width,), (width,)])]


def _scale(model: nn.Module) -> float:
    config = model.config.get_text_config()  # type: ignore[union-attr, operator]
    divisor = getattr(config, "logits_scaling", None)
    return float(getattr(config, "logit_scale", None) or 1.0) / float(divisor or 1.0)


def _cap(model: nn.Module) -> float | None:
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)  # type: ignore[union-attr, operator]
    return None if cap is None else float(cap)


def _equal(found_NV: Tensor, expected_NV: Tensor) -> bool:
    """Up to rounding in the model's own dtype, relative to the largest logit."""
    if found_NV.shape != expected_NV.shape:
        return False
    tolerance = max(ROUNDING, 4 * torch.finfo(expected_NV.dtype).eps) * expected_NV.abs().max()
    return bool((found_NV.float() - expected_NV.float()).abs().max() <= tolerance)
