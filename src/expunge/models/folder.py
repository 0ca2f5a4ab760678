"""Checks a model folder in Hugging Face layout without importing torch, so that a plan can refuse it at once.

Nothing here opens a pickle or runs code of the folder.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from expunge.errors import InputError, UnsafeModelError
from expunge.models.buffers import is_left_over

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)
FLOAT_CODES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
READ = (".json", ".safetensors", ".model", ".txt", ".jinja")  # ends of names that transformers reads
TEMPLATES = "additional_chat_templates"  # the one subfolder that it reads
MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit


class ModelFolder(NamedTuple):
    """A checked model folder.

    Attributes:
        path: the folder.
        config: what config.json holds.
        weights: its safetensors files, sorted by name.
    """

    path: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]


def check_folder(path: Path | str) -> ModelFolder:
    """Checks that a folder is a whole model that loads without running code from it.

    Args:
        path: a local folder with config.json, safetensors weights and a tokenizer.

    Raises:
        UnsafeModelError: the only weights are pickles, or the configuration asks for code.
        InputError: something is missing, malformed, an adapter or quantised; the message says what to do.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(
            f"There is no model folder {path.name!r}; hand in a folder with config.json and model.safetensors."
        )
    names = {item.name for item in path.iterdir()}
    refuse_odd_files(path)
    if "adapter_config.json" in names:
        raise InputError(
            f"The folder {path.name!r} holds an adapter, not a whole model. Merge it first: load the base model and "
            "the adapter with peft, call merge_and_unload() and save_pretrained(), and hand in that folder."
        )
    if "config.json" not in names:
        raise InputError(
            f"The folder {path.name!r} has no config.json; a model folder in Hugging Face layout is needed."
        )
    config = _read_json(path / "config.json")
    _refuse_code(config, "config.json")
    tokenizer_settings(path)
    _refuse_unusable(config)
    weights = _weight_files(path, names)
    if not names.intersection(VOCABULARIES):
        raise InputError(
            f"The folder {path.name!r} has no tokenizer (tokenizer.json or tokenizer.model). Save it beside the model "
            "with tokenizer.save_pretrained(folder)."
        )
    return ModelFolder(path, config, weights)


def saved_dtypes(weights: tuple[Path, ...]) -> dict[str, int]:
    """Returns the floating dtypes of safetensors files with the number of values in each, the most frequent first.

    Only the headers are read. Masks and tables that the model computes itself do not count.

    Raises:
        InputError: a file is truncated or is not safetensors, or it holds no or unsupported floating weights.
    """
    counts: dict[str, int] = {}
    for file in weights:
        for name, tensor in _header(file).items():
            if is_left_over(name, tensor["shape"]):
                continue
            size = 1
            for length in tensor["shape"]:
                size *= length
            counts[tensor["dtype"]] = counts.get(tensor["dtype"], 0) + size
    packed = sorted(code for code in counts if code.startswith("F8") or code.startswith("F4"))
    floats = {FLOAT_CODES[code]: size for code, size in counts.items() if code in FLOAT_CODES}
    if packed or not floats:
        held = ", ".join(sorted(counts)) or "no tensors"
        raise InputError(f"The weights are stored as {held}; Expunge needs {', '.join(FLOAT_CODES.values())}.")
    return dict(sorted(floats.items(), key=lambda item: -item[1]))


def saved_shapes(weights: tuple[Path, ...]) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every tensor of safetensors files by name, from the headers alone."""
    return {name: tuple(tensor["shape"]) for file in weights for name, tensor in _header(file).items()}


def common_dtype(dtypes: Collection[str]) -> str:
    """Returns the smallest floating dtype that holds the values of all of these exactly."""
    if len(dtypes) == 1:
        return next(iter(dtypes))
    # Neither of the two half precisions holds the other.
    return "float64" if "float64" in dtypes else "float32"


def left_over_names(weights: tuple[Path, ...]) -> frozenset[str]:
    """Names of the tensors in safetensors files that are no weights, such as the causal masks of old checkpoints."""
    return frozenset(
        name for file in weights for name, tensor in _header(file).items() if is_left_over(name, tensor["shape"])
    )


def tokenizer_settings(path: Path) -> dict[str, Any]:
    """Returns what tokenizer_config.json of a folder holds; empty without the file.

    Raises:
        UnsafeModelError: it asks for code.
        InputError: it is not JSON.
    """
    file = path / "tokenizer_config.json"
    settings = _read_json(file) if file.is_file() else {}
    _refuse_code(settings, file.name)
    return settings


def refuse_odd_files(path: Path) -> None:
    """Refuses what would be read and is no file: opening a FIFO would wait for ever, and a link may lead nowhere."""
    inner = path / TEMPLATES
    for file in (*path.iterdir(), *(inner.iterdir() if inner.is_dir() else ())):
        if file.suffix not in READ:
            continue
        try:
            mode = file.stat().st_mode
        except (OSError, RuntimeError):
            raise InputError(
                f"{file.name} of the model folder cannot be reached: it is a link that leads nowhere or to itself, or "
                "its target may not be read. Copy the file itself there."
            ) from None
        if not stat.S_ISREG(mode):
            raise InputError(
                f"{file.name} of the model folder is not a file but {_kind(mode)}. Put the file itself there, or "
                "remove the entry."
            )


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a FIFO" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path.name} of the model folder cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path.name} of the model folder is not valid JSON.") from None
    if not isinstance(loaded, dict):
        raise InputError(f"{path.name} of the model folder must hold a JSON object, not {type(loaded).__name__}.")
    return loaded


def _settings(node: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of nested JSON: a model for text may sit inside a larger configuration."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield key, value
            yield from _settings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _settings(value)


def _refuse_code(settings: dict[str, Any], name: str) -> None:
    for key, value in _settings(settings):
        if key == "auto_map":
            raise UnsafeModelError(
                f"{name} has auto_map: loading this model would run code from the folder; Expunge never does. Convert "
                "it to an architecture that transformers has, and remove auto_map."
            )
        # A name with a slash is a repository of compiled kernels, fetched and run when the model is built.
        if key.endswith(("attn_implementation", "experts_implementation")) and "/" in str(value):
            raise UnsafeModelError(
                f"{name} sets {key} to a kernel repository: loading would run code from there; Expunge never does. "
                f"Remove {key} from {name}."
            )


def _refuse_unusable(config: dict[str, Any]) -> None:
    if "transformers_weights" in config:
        raise InputError(
            f"config.json names its own weights file (transformers_weights); Expunge reads {WEIGHTS} or {INDEX}. "
            "Rename the file and remove the setting."
        )
    if "quantization_config" in config:
        raise InputError(
            "The model is quantised (quantization_config in config.json), and quantised weights cannot be trained or "
            "compared. Hand in the model it was made from, or dequantise it first with model.dequantize()."
        )


def _weight_files(path: Path, names: set[str]) -> tuple[Path, ...]:
    if WEIGHTS in names:
        return (path / WEIGHTS,)
    if INDEX in names:
        return _shards(path, names)
    if any(any(path.glob(pattern)) for pattern in PICKLES):
        raise UnsafeModelError(
            f"The folder {path.name!r} has only pickle weights (.bin, .pt, .pth, .ckpt, .pkl), which can run code when "
            "opened; Expunge reads safetensors only. Convert it where you trust its source: load it with transformers "
            "and call model.save_pretrained(folder), or use the Hub's safetensors conversion."
        )
    raise InputError(f"The folder {path.name!r} has no weights: neither {WEIGHTS} nor {INDEX}.")


def _shards(path: Path, names: set[str]) -> tuple[Path, ...]:
    placed = _read_json(path / INDEX).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise InputError(f"{INDEX} has no weight_map; save the model again with save_pretrained.")
    shards = sorted({str(shard) for shard in placed.values()})
    for shard in shards:
        # A name that is not in the folder's own listing is missing, or points elsewhere ("../x").
        if shard not in names or not shard.endswith(".safetensors"):
            raise InputError(f"{INDEX} names the shard {shard!r}, which is not a safetensors file of the folder.")
    return tuple(path / shard for shard in shards)


def _header(file: Path) -> dict[str, Any]:
    """The safetensors header: 8 bytes little-endian length, then JSON. https://github.com/huggingface/safetensors."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            content = b"" if length > MAX_HEADER_BYTES else stream.read(length)
    except OSError as error:
        raise InputError(f"{file.name} of the model folder cannot be read: {error.strerror}.") from None
    if length > MAX_HEADER_BYTES:
        raise InputError(f"{file.name} is not a safetensors file: its header would have {length} bytes.")
    try:
        header = json.loads(content if len(content) == length else b"")
    except (ValueError, RecursionError):
        raise InputError(f"{file.name} is not a whole safetensors file; copy or save it again.") from None
    if not isinstance(header, dict):
        raise InputError(f"{file.name} is not a safetensors file.")
    header.pop("__metadata__", None)
    if not all(map(_is_tensor, header.values())):
        raise InputError(f"{file.name} is not a whole safetensors file; copy or save it again.")
    return header


def _is_tensor(entry: Any) -> bool:
    """Whether an entry of a header says dtype and shape."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    shape = entry.get("shape")
    return isinstance(shape, list) and all(isinstance(size, int) and size >= 0 for size in shape)
