"""Models between two others: weights on the straight line from an unlearned model to its original.

Wang et al., 2024, https://arxiv.org/abs/2406.09179.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from expunge.data.templates import DEFAULT, Rendering
from expunge.errors import InputError
from expunge.models.load import LoadedModel, load_model


def load_mixed(
    unlearned: str | Path, original: str | Path, share: float, *, rendering: Rendering = DEFAULT
) -> LoadedModel:
    """Loads ``(1 - share) * unlearned + share * original``, computed in float32, in the dtype of the unlearned folder.

    The ends are the saved folders themselves. Between them configuration and tokenizer are the unlearned model's, and
    both models are in memory while they are mixed.

    Args:
        unlearned: folder or Hub id.
        original: folder or Hub id of the model that it was made from.
        share: of the original, from 0 to 1.
        rendering: how records are written for the model.

    Raises:
        InputError: a share outside this range, or models between which there is no line.
    """
    if not 0 <= share <= 1:
        raise InputError(f"share={share} is no share of the original; give a number from 0 to 1.")
    if share in (0, 1):
        return load_model(original if share else unlearned, rendering=rendering)
    loaded, other = load_model(unlearned, rendering=rendering), load_model(original, device="cpu", rendering=rendering)
    if loaded.tokenizer.get_vocab() != other.tokenizer.get_vocab():
        raise InputError(
            "The unlearned model and the original have other tokens, so there is no model between them; only a model "
            "made from this original can be compared with it at one utility."
        )
    mix_into(loaded.model, other.model, share)
    return loaded


def mix_into(model: nn.Module, original: nn.Module, share: float) -> None:
    """Moves the weights of ``model`` towards those of ``original`` in place: (1 - share) * own + share * original.

    In float32 (float64 where they are), cast to the model's own dtype; tied weights are moved once.

    Raises:
        InputError: other weights or shapes, or integers that differ.
    """
    own, others = saved_tensors(model), saved_tensors(original)
    odd = sorted(
        name
        for name in {*own, *others}
        if name not in own or name not in others or own[name].shape != others[name].shape
    )
    if odd:
        raise InputError(
            f"The unlearned model and the original differ in {len(odd)} tensors or their shapes (such as {odd[0]}), so "
            "there is no model between them; only a model made from this original can be compared with it at one "
            "utility."
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(_mixed(name, tensor, others[name].to(tensor.device), share))


def _mixed(name: str, own: Tensor, other: Tensor, share: float) -> Tensor:
    if own.is_floating_point():
        wide = torch.promote_types(own.dtype, torch.float32)
        return (1 - share) * own.to(wide) + share * other.to(wide)
    if not torch.equal(own, other):
        raise InputError(f"{name} holds integers, which differ in the two models and cannot be mixed.")
    return own


def saved_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Returns what is saved of a model, by name and tied weights once.

    ``state_dict`` names them twice, and mixing them twice would be another mix.
    """
    saved = model.state_dict()
    return {name: item for name, item in (*model.named_parameters(), *model.named_buffers()) if name in saved}
