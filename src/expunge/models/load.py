"""Loads, saves, builds and fingerprints models in Hugging Face layout: safetensors only, never code from the folder."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import transformers
from huggingface_hub import snapshot_download
from peft import PeftModel
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)

from expunge.data.templates import DEFAULT, Rendering
from expunge.errors import InputError, ResourceError
from expunge.models.carry import carry_over
from expunge.models.folder import ModelFolder, check_folder, common_dtype, left_over_names, saved_dtypes
from expunge.models.tensors import tensor_errors
from expunge.models.tokenizer import embedding_rows, first_line, load_config, load_tokenizer
from expunge.models.vocabulary import guard_embedding
from expunge.storage import atomic

Dtype = Literal["saved", "float32", "bfloat16", "float16"]
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
# Files at the top of a repository that a checked folder may use or carry over; consolidated* repeats the weights in
# another layout.
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.md", "LICENSE", "LICENCE", "NOTICE"]
HUB_SKIPPED = ["*/*", "consolidated*"]
# What transformers reports of weights that do not fit, and what it would do with them.
NOT_FITTING = {
    "missing_keys": "What is missing would be random.",
    "unexpected_keys": "The model has no place for them and would be loaded without them.",
    "mismatched_keys": "They have another shape than the model and would be random.",
    "error_msgs": "They could not be loaded.",
}


# Bars of loading and saving would stand between our own progress lines, also under --json.
transformers.utils.logging.disable_progress_bar()


class LoadedModel(NamedTuple):
    """A model in evaluation mode, its tokenizer, and the folder or Hub id they came from."""

    model: PreTrainedModel
    tokenizer: Any
    source: str

    def limit(self, max_length: int) -> int:
        """Returns ``max_length``, or the number of positions that the model has, where that is less."""
        # Absent where positions have no limit (ALiBi).
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return max_length if positions is None else min(max_length, int(positions))


class Description(NamedTuple):
    """What a report says about a model: number of parameters (tied ones once), dtype, layers and hidden size."""

    parameters: int
    dtype: str
    layers: int
    hidden_size: int


def default_device() -> torch.device:
    """The accelerator of this process of a launch, or the CPU."""
    return (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


def load_model(
    source: str | Path,
    *,
    dtype: Dtype = "saved",
    device: torch.device | str | None = None,
    rendering: Rendering = DEFAULT,
) -> LoadedModel:
    """Loads a causal language model and its tokenizer.

    Args:
        source: a local folder, or the id of a repository on the Hugging Face Hub.
        dtype: ``saved`` keeps the dtype of the safetensors files, whatever config.json says. Weights in several dtypes
            are loaded in the one that holds all of them exactly, and so are those of a model that transformers would
            load in several.
        device: where the model goes; None for ``default_device``.
        rendering: how records are written for it.

    Raises:
        UnsafeModelError: pickle weights or remote code; nothing of the folder has run.
        InputError: the source is missing or incomplete, or its weights do not fit its configuration.
        ResourceError: the model does not fit into memory.
    """
    folder = check_folder(local_folder(source))
    model = load_bare(folder, dtype)
    tokenizer = load_tokenizer(folder.path, rendering)
    guard_embedding(model, tokenizer)
    return LoadedModel(model.to(device or default_device()).eval(), tokenizer, str(source))


def load_bare(folder: ModelFolder, dtype: Dtype = "saved") -> PreTrainedModel:
    """Loads the model of a checked folder onto the CPU, without its tokenizer; all weights have one dtype.

    Raises:
        InputError: the weights do not fit the configuration.
        ResourceError: the model does not fit into memory.
    """
    wanted = common_dtype(saved_dtypes(folder.weights)) if dtype == "saved" else dtype
    model = _load_weights(folder, getattr(torch, wanted))
    if dtype == "saved" and len(held := _dtypes(model)) > 1:
        model = model.to(getattr(torch, common_dtype(held)))
    return model


def save_model(
    model: PreTrainedModel,
    tokenizer: Any,
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    source: Path | None = None,
    replace: bool = False,
) -> None:
    """Writes a folder that plain ``from_pretrained`` loads, with safetensors and tokenizer, whole or not at all.

    Args:
        model: a transformers model; adapters must have been merged.
        tokenizer: saved beside it.
        folder: must not exist, unless ``replace``.
        dtype: of the floating weights in the file; by default the model's own. The model itself is not changed.
        source: folder of the model that this one was made from; its other files take the place of what transformers
            writes, see ``expunge.models.carry``.
        replace: take the place of an existing folder.

    Raises:
        InputError: the model still carries adapters, or the folder exists.
    """
    if isinstance(model, PeftModel) or not isinstance(model, PreTrainedModel):
        raise InputError(f"{type(model).__name__} cannot be saved as a plain model; merge its adapter first (export).")
    with atomic.folder(folder, replace=replace) as temporary, tensor_errors(folder.parent):
        state = None if dtype is None else _cast(model.state_dict(), dtype)
        model.save_pretrained(temporary, state_dict=state)
        if dtype is not None:
            _record_dtype(temporary / "config.json", dtype)
        if source is None:
            tokenizer.save_pretrained(temporary)
        else:
            carry_over(source, temporary, str(dtype or model.dtype).removeprefix("torch."))


def build_model(config: PretrainedConfig, seed: int) -> PreTrainedModel:
    """Returns an untrained model in evaluation mode; the same seed gives the same bits, and no global generator moves.

    Args:
        config: a transformers configuration; it is not changed.
        seed: of the initial weights.
    """
    # The generator of the CPU alone: torch.manual_seed would also reseed every GPU, and devices=[] would not undo it.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(copy.deepcopy(config), trust_remote_code=False)
    return model.eval()


def weights_digest(model: nn.Module) -> str:
    """Returns the SHA-256 (hex) over name, dtype, shape and bytes of all weights by sorted name, tied ones once."""
    digest = hashlib.sha256()
    seen: set[tuple[Any, ...]] = set()
    for name, tensor in sorted(model.state_dict().items()):
        place = _place(tensor)
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        head = [name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
        digest.update(json.dumps(head).encode() + b"\n")
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def describe(model: PreTrainedModel) -> Description:
    """Returns the numbers that describe a model."""
    config = model.config.get_text_config()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    dtype = str(model.dtype).removeprefix("torch.")
    return Description(parameters, dtype, config.num_hidden_layers, config.hidden_size)


def local_folder(source: str | Path) -> Path:
    """Returns the folder, or the snapshot of a Hub repository: both pass the same checks before anything is loaded."""
    path = Path(source)
    try:
        if path.is_dir():
            return path
        exists = path.exists()
    except (OSError, ValueError, RuntimeError):  # a loop of links, a name too long or with a zero byte
        exists = True
    if isinstance(source, Path) or exists or not HUB_ID.fullmatch(source):
        raise InputError(
            f"There is no model folder {path.name!r}; hand in a model folder or a Hub id such as org/name."
        )
    try:
        return Path(snapshot_download(source, allow_patterns=HUB_FILES, ignore_patterns=HUB_SKIPPED))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{source!r} was tried as a local folder (there is none), in the local Hub cache and on the Hugging Face "
            f"Hub ({type(error).__name__}). Check the name and the connection, or hand in a folder."
        ) from error


def _load_weights(folder: ModelFolder, dtype: torch.dtype) -> PreTrainedModel:
    """Loads the weights and refuses any that are missing, left over or of another shape."""
    check_pad_row(load_config(folder.path))
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder.path,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ResourceError(f"The model {folder.path.name!r} does not fit into memory.") from error
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        ImportError,
        SafetensorError,
    ) as error:
        raise InputError(f"The model {folder.path.name!r} cannot be loaded: {first_line(error)}") from error
    check_names(folder, info)
    loaded: PreTrainedModel = model
    return loaded


def check_pad_row(config: PretrainedConfig) -> None:
    """Refuses a pad id that no embedding can be built with."""
    text = config.get_text_config()
    pad, rows = getattr(text, "pad_token_id", None), embedding_rows(config)
    if pad is not None and rows is not None and pad >= rows:
        raise InputError(
            f"config.json has the pad_token_id {pad}, and the embedding has {rows} rows (ids 0 to {rows - 1}). Remove "
            "pad_token_id from config.json; padding is masked, so nothing depends on it."
        )


def check_names(folder: ModelFolder, info: dict[str, Any]) -> None:
    """Refuses weights that do not fit the configuration; masks that an old checkpoint holds are no weights."""
    left_over = left_over_names(folder.weights) if info.get("unexpected_keys") else frozenset()
    for kind, why in NOT_FITTING.items():
        names = sorted(str(name) for name in info.get(kind) or () if kind != "unexpected_keys" or name not in left_over)
        if names:
            raise InputError(
                f"The weights of {folder.path.name!r} do not fit its config.json: {len(names)} "
                f"{kind.replace('_', ' ')}, such as {names[0]}. {why} Save the model again with save_pretrained."
            )


def _dtypes(model: PreTrainedModel) -> set[str]:
    """Names of the floating dtypes of the weights."""
    return {str(item.dtype).removeprefix("torch.") for item in model.parameters() if item.is_floating_point()}


def _cast(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Casts floating weights, each once, so that tied ones share their memory still."""
    done: dict[tuple[Any, ...], Tensor] = {}
    for tensor in state.values():
        if _place(tensor) not in done:
            done[_place(tensor)] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return {name: done[_place(tensor)] for name, tensor in state.items()}


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """Equal for two tensors exactly where they are the same memory seen in the same way."""
    return (tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())


def _record_dtype(path: Path, dtype: torch.dtype) -> None:
    """Writes the dtype of the file into config.json; ``save_pretrained`` puts the dtype of the model there."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["dtype"] = str(dtype).removeprefix("torch.")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
