"""Digests that say which model, tokenizer and code a number came from."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from expunge.models.folder import check_folder
from expunge.models.load import local_folder
from expunge.storage.digests import file_digest, folder_digest, text_digest
from expunge.storage.plain import to_json

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
)


def place_of(source: str) -> str:
    """Absolute path of a model folder, so that it is found from elsewhere too; a Hub id stays what it is."""
    path = Path(source)
    return str(path.resolve()) if path.is_dir() else source


def hash_plain(plain: Any) -> str:
    """SHA-256 of plain data."""
    return text_digest(to_json(plain))


def model_digest(source: str | Path) -> str:
    """Digest of everything in a model folder or Hub snapshot: weights, configuration, tokenizer and template."""
    path = local_folder(source)
    check_folder(path)
    return folder_digest(path, follow_links=True).root


def weights_of(source: str | Path) -> str:
    """Digest of the safetensors files alone: two folders with equal ones hold one model, whatever lies beside them."""
    return text_digest("".join(file_digest(path) for path in check_folder(local_folder(source)).weights))


def tokenizer_digest(source: str) -> str:
    """Digest of the files that make text into tokens."""
    folder = local_folder(source)
    files = [name for name in sorted(TOKENIZER_FILES) if (folder / name).is_file()]
    return text_digest("".join(f"{file_digest(folder / name)}  {name}\n" for name in files))


@cache
def code_digest() -> str:
    """Digest of the package's own source, read once in a process."""
    package = Path(__file__).parents[1]
    files = sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    return text_digest("".join(f"{file_digest(package / name)}  {name}\n" for name in files))
