"""Carries what a model folder holds beside its weights over to the folder of a model that was made from it."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expunge.errors import InputError
from expunge.models.folder import PICKLES, TEMPLATES

WEIGHT_ENDS = frozenset(
    {".safetensors", ".h5", ".msgpack", ".onnx", ".gguf", ".ggml", ".ot", ".tflite", ".npz", ".npy"}
    | {pattern.removeprefix("*") for pattern in PICKLES}
    | {".pickle", ".joblib", ".dill"}
)
CODE_ENDS = frozenset(
    {".py", ".pyc", ".pyd", ".pyx", ".so", ".dll", ".dylib", ".exe", ".sh", ".bat", ".ps1", ".js", ".jar", ".wasm"}
    | {".ipynb", ".c", ".cc", ".cpp", ".cu", ".h"}
)
DATA_ENDS = frozenset({".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ".db", ".sqlite"})  # may be the records
LEFT_OUT = WEIGHT_ENDS | CODE_ENDS | DATA_ENDS
DTYPE_KEYS = ("dtype", "torch_dtype")


def carry_over(source: Path, folder: Path, dtype: str) -> None:
    """Copies the files beside the weights byte for byte, in the place of what transformers wrote.

    These are the files of the tokenizer, of preprocessors and of generation, the chat template, the licence and the
    model card. ``config.json`` is copied too; where it says another dtype than that of the new weights, only that value
    is changed. Not carried over: other weights and pickles (.bin, .pt, .pkl, ...) with their indices, code (.py, .so,
    .sh, ...), data files (.jsonl, .csv, ...), which may hold the records, hidden files, and subfolders, such as those
    of other checkpoints. The one exception is the subfolder with further chat templates.

    Args:
        source: folder of the model that the new one was made from.
        folder: holds the new weights.
        dtype: of the new weights.

    Raises:
        InputError: a file of the source cannot be read.
    """
    for written in list(folder.rglob("*")):
        # A file that the original does not have could change how the tokenizer is loaded.
        if written.is_file() and not _is_weights(written):
            written.unlink()
    for file in sorted(_carried(source)):
        target = folder / file.relative_to(source)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(_content(file))
    _set_dtype(folder / "config.json", dtype)


def left_out(source: Path) -> int:
    """Returns how many files and subfolders ``carry_over`` leaves out, the model's own weights aside."""
    carried = set(_carried(source))
    return sum(
        item not in carried and not _is_weights(item) and not (item.name == TEMPLATES and item.is_dir())
        for item in source.iterdir()
    )


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(
            f"{file.name} of the model folder cannot be read ({error.strerror}), so it cannot be copied to the new "
            "model. Make it readable, or remove it."
        ) from None


def _carried(source: Path) -> Iterator[Path]:
    inner = source / TEMPLATES
    for file in source.iterdir():
        hidden = file.name.startswith(".")
        if not hidden and file.suffix.lower() not in LEFT_OUT and not _is_index(file) and _is_file(file):
            yield file
    for file in inner.iterdir() if inner.is_dir() else ():
        if file.suffix == ".jinja" and _is_file(file):
            yield file


def _is_file(file: Path) -> bool:
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except OSError:
        return False


def _is_index(file: Path) -> bool:
    return file.name.endswith(".index.json")


def _is_weights(file: Path) -> bool:
    return file.suffix == ".safetensors" or file.name.endswith(".safetensors.index.json")


def _set_dtype(path: Path, dtype: str) -> None:
    """Writes the dtype of the weights into config.json where it says another one."""
    config = json.loads(path.read_text(encoding="utf-8"))
    if _with_dtype(config, dtype):
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _with_dtype(config: dict[str, Any], dtype: str) -> bool:
    """Sets the dtype of a configuration and of those inside it; whether anything changed."""
    changed = False
    for key, value in config.items():
        if isinstance(value, dict) and key.endswith("_config"):
            changed |= _with_dtype(value, dtype)
        elif key in DTYPE_KEYS and value is not None and str(value).removeprefix("torch.") != dtype:
            config[key] = dtype
            changed = True
    return changed
