"""Adapters in peft's layout, as others hand them in: read onto the model that they stand beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError

from expunge.data.templates import DEFAULT, Rendering
from expunge.errors import InputError, UnsafeModelError
from expunge.models.adapter_rows import carried_rows, resize, untie
from expunge.models.adapter_tokenizer import adapter_tokenizer, own_parts
from expunge.models.folder import check_folder, refuse_odd_files, saved_shapes
from expunge.models.load import LoadedModel, build_model, default_device, load_bare, local_folder
from expunge.models.tokenizer import embedding_rows, load_config, load_tokenizer
from expunge.models.vocabulary import fit_vocabulary, guard_embedding

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class Adapter(NamedTuple):
    """A checked adapter folder, its configuration, and the shapes of its tensors by name."""

    path: Path
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]

    def rows(self, model: Any) -> int | None:
        """Rows of the embedding that the adapter carries, where the base has others; see ``carried_rows``."""
        copied = self.config.get("modules_to_save") or ()
        indices = self.config.get("trainable_token_indices") or self.config.get("token_indices") or ()
        chosen = indices.values() if isinstance(indices, dict) else (indices,)
        return carried_rows(model, self.shapes, copied, [token for tokens in chosen for token in tokens])


def is_adapter(path: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (path / CONFIG).is_file()


def check_adapter(path: Path) -> Adapter:
    """Checks that an adapter loads without running code from its folder.

    Raises:
        UnsafeModelError: its only weights are pickles, or its configuration or tokenizer asks for code.
        InputError: its configuration or the header of its weights cannot be read, or a whole model lies in the folder
            too.
    """
    if (path / "config.json").is_file() or (path / "model.safetensors").is_file():
        raise InputError(f"{path.name!r} holds a model and an adapter; hand in a folder with one of them.")
    refuse_odd_files(path)
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InputError(f"{CONFIG} of the adapter cannot be read; save it again with save_pretrained.") from None
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise InputError(f"{CONFIG} is not that of a peft adapter: it has no peft_type.")
    if config.get("megatron_config"):
        raise UnsafeModelError(f"{CONFIG} names a module to import (megatron_config); Expunge never does. Remove it.")
    if not (path / WEIGHTS).is_file():
        raise UnsafeModelError(
            f"The adapter has no {WEIGHTS}; Expunge reads safetensors only. Convert it where you trust its source, "
            "with save_pretrained."
        )
    own_parts(path)  # refuses a tokenizer that asks for code
    return Adapter(path, config, saved_shapes((path / WEIGHTS,)))


def check_pair(base: str, adapter: str | Path, rendering: Rendering = DEFAULT) -> None:
    """Refuses an adapter whose embedding or tokenizer does not go with a model, before any weight is read.

    Args:
        base: folder or Hub id of a model whose folder has been checked.
        adapter: folder of the adapter.
        rendering: how records are written for it.

    Raises:
        InputError: rows of the embedding that neither has, or a tokenizer that cannot be used.
    """
    given, folder = check_adapter(Path(adapter)), local_folder(base)
    config = load_config(folder)
    try:
        with torch.device("meta"):
            rows = given.rows(build_model(config, seed=0))
    except (RuntimeError, NotImplementedError):
        return  # an architecture that computes with its weights while it is built; loading it will tell
    if (rows := rows or embedding_rows(config)) is not None:
        _tokenizer(folder, given.path, rows, rendering)


def describe_own(base: str, adapter: str | Path, rendering: Rendering = DEFAULT) -> list[str]:
    """Returns what a record says of the tokenizer and template that an adapter brings; nothing where it brings none."""
    own = own_parts(Path(adapter))
    if not own:
        return []
    told = f"The adapter is read with the {' and '.join(own)} of its own folder."
    folder = local_folder(base)
    tokenizers = (adapter_tokenizer(folder, Path(adapter), rendering), load_tokenizer(folder, rendering))
    if tokenizers[0].get_vocab() != tokenizers[1].get_vocab():
        told += (
            " Its vocabulary is not the original's: numbers per token are over other tokens, and metrics that compare "
            "two distributions token by token are left out."
        )
    return [told]


def load_with_adapter(base: str, adapter: str | Path, *, rendering: Rendering = DEFAULT) -> LoadedModel:
    """Loads a model with an adapter merged into its weights, in their dtype.

    Tokenizer and chat template are the adapter's where its folder has some, and the embedding has as many rows as the
    adapter carries.

    Raises:
        InputError: the adapter is not one for this model, or of a kind that cannot be merged.
    """
    given, folder = check_adapter(Path(adapter)), check_folder(local_folder(base))
    model = load_bare(folder)
    dtype = model.dtype
    if (rows := given.rows(model)) is not None:
        resize(model, rows)
    rows = int(model.get_input_embeddings().weight.shape[0])
    tokenizer = _tokenizer(folder.path, given.path, rows, rendering)
    model = model.to(default_device()).eval()
    try:
        with torch.random.fork_rng(devices=[]):  # peft draws first values and overwrites them
            wrapped: Any = PeftModel.from_pretrained(model, str(adapter), local_files_only=True)
        _check_all_used(wrapped, set(given.shapes))
        untie(wrapped.get_base_model(), given.shapes)
        merged = wrapped.merge_and_unload(safe_merge=True).to(dtype)
    except (ValueError, RuntimeError, TypeError, AttributeError, LookupError, OSError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"The adapter cannot be put on the original model ({type(error).__name__}); hand in the model that it was "
            "trained on with --original, or merge it with peft and hand in that folder."
        ) from error
    guard_embedding(merged, tokenizer)
    return LoadedModel(merged.eval(), tokenizer, str(adapter))


def _tokenizer(base: Path, adapter: Path, rows: int, rendering: Rendering = DEFAULT) -> Any:
    """The tokenizer of an adapter's model, or why it does not go with so many rows."""
    tokenizer = adapter_tokenizer(base, adapter, rendering)
    try:
        fit_vocabulary(tokenizer, rows)
    except InputError as error:
        raise InputError(
            f"The adapter {adapter.name!r} and the original do not fit together. {error} An adapter contains the rows "
            "of added tokens if it was saved with save_pretrained(folder, save_embedding_layers=True)."
        ) from None
    return tokenizer


def _check_all_used(wrapped: Any, given: set[str]) -> None:
    """Refuses an adapter of which peft takes only a part: it warns and leaves the rest at its first values."""
    # Not "auto": to find out whether tokens were added, peft would look for the base model's configuration on the Hub.
    wanted = set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
    known = wanted | {name.replace(f".{wrapped.active_adapter}", "") for name in wrapped.state_dict()}
    odd = (wanted - given) | (given - known)
    if odd:
        raise InputError(
            f"{len(odd)} tensors of the adapter do not fit the original model, so that it would be applied "
            "in part or not at all; hand in the model that it was trained on with --original."
        )
