"""Loads, builds, saves and identifies causal language models. Safetensors only; code from a model folder is never run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge.errors import InputError
from expunge.models.folder import check_folder
from expunge.storage import atomic

Dtype = Literal["saved", "float32", "bfloat16"]


class LoadedModel(NamedTuple):
    """A model in evaluation mode, its tokenizer, and where they came from."""

    model: Any
    tokenizer: Any
    source: str


def load_model(source: str | Path, *, dtype: Dtype = "saved", device: str | torch.device = "cpu") -> LoadedModel:
    """Loads a model folder or a Hub id.

    Args:
        source: a local folder, or an id such as ``org/name``.
        dtype: ``saved`` keeps the dtype of the weights on disk.
        device: where the model goes.

    Raises:
        InputError: not found, incomplete, or weights that do not fit the configuration.
        UnsafeModelError: loading would run code.
    """
    path = Path(source)
    if path.is_dir():
        check_folder(path)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            str(source),
            dtype="auto" if dtype == "saved" else getattr(torch, dtype),
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"No causal language model could be loaded from {path.name!r} ({type(error).__name__}). It is neither a usable "
            "local folder nor an id that the Hub answers for from here; check the path, or download it first."
        ) from None
    wrong = {kind: len(info.get(kind) or ()) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(wrong.values()):
        counts = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in wrong.items() if count)
        raise InputError(f"The weights of {path.name!r} do not fit its config.json: {counts}.")
    return LoadedModel(model.to(device).eval(), tokenizer, str(source))


def build_model(config: Any, seed: int) -> Any:
    """Returns a freshly initialised model; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False).eval()


def save_model(model: Any, tokenizer: Any, folder: Path, *, dtype: torch.dtype | None = None) -> None:
    """Saves in Hugging Face layout, complete or not at all.

    Args:
        model: a plain transformers model.
        tokenizer: saved beside it.
        folder: replaced if it exists.
        dtype: dtype of the saved weights; None keeps the model's.
    """
    if dtype is not None and model.dtype != dtype:
        model = model.to(dtype)
    with atomic.folder(folder, replace=True) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all weights; tied weights count once."""
    digest = hashlib.sha256()
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()]):
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{data.dtype}|{tuple(data.shape)}|".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
