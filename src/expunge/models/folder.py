"""Is this folder a model that loads without running code from it? Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from expunge.errors import InputError, UnsafeModelError

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")


def read_model_config(folder: Path) -> dict[str, Any]:
    """Returns ``config.json`` of a model folder.

    Raises:
        InputError: absent or malformed.
    """
    path = folder / "config.json"
    if not path.is_file():
        if (folder / "adapter_config.json").is_file():
            raise InputError("The model folder holds an adapter only; merge it into its base model and save that first.")
        raise InputError(f"The model folder {folder.name!r} has no config.json; hand in a folder in Hugging Face layout.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"config.json of the model folder {folder.name!r} is not valid JSON.") from None
    if not isinstance(config, dict):
        raise InputError(f"config.json of the model folder {folder.name!r} must hold an object.")
    return config


def check_folder(folder: Path) -> None:
    """Refuses a folder that is incomplete or could run code.

    Raises:
        InputError: something is missing.
        UnsafeModelError: pickle weights, or a model class that comes from the folder.
    """
    config = read_model_config(folder)
    if "auto_map" in config:
        raise UnsafeModelError(
            "The model brings its own Python code (auto_map in config.json), which Expunge never runs; "
            "convert it to an architecture that transformers has."
        )
    weights = _weight_files(folder)
    if not weights:
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLE_SUFFIXES)
        if pickles:
            raise UnsafeModelError(
                f"The weights are pickle files ({', '.join(pickles[:3])}), which can run code when loaded. Convert them with "
                "transformers on a machine you trust: from_pretrained(...).save_pretrained(..., safe_serialization=True)."
            )
        raise InputError(f"The model folder {folder.name!r} has no model.safetensors and no index of shards.")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise InputError(f"The model folder {folder.name!r} has no tokenizer; save it there with save_pretrained.")


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing:
            raise InputError(f"The model folder {folder.name!r} lacks {len(missing)} of {len(shards)} weight files.")
        return [folder / shard for shard in shards]
    single = folder / "model.safetensors"
    return [single] if single.is_file() else []
