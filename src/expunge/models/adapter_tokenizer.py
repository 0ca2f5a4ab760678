"""The tokenizer and chat template in an adapter's own folder: its model was trained with them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from expunge.data.templates import DEFAULT, Rendering
from expunge.models.folder import TEMPLATES, VOCABULARIES, tokenizer_settings
from expunge.models.tokenizer import load_config, read_tokenizer

SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
OTHERS = ("added_tokens.json", "merges.txt")  # belong to the vocabulary beside them
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")


def own_parts(adapter: Path) -> list[str]:
    """Returns which of ``tokenizer`` and ``chat template`` an adapter's folder has files of.

    Raises:
        UnsafeModelError: its tokenizer asks for code.
        InputError: tokenizer_config.json is not JSON.
    """
    has_tokenizer = any((adapter / name).is_file() for name in (*VOCABULARIES, *SETTINGS, *OTHERS))
    return [
        *(["tokenizer"] if has_tokenizer else []),
        *(["chat template"] if _has_template(adapter, tokenizer_settings(adapter)) else []),
    ]


def adapter_tokenizer(base: Path, adapter: Path, rendering: Rendering = DEFAULT) -> Any:
    """Returns the tokenizer that an adapter's model was trained with, whatever rows the model has.

    A folder with a vocabulary and settings is a tokenizer by itself. What any other folder has takes the place of the
    base's files, such as the chat template alone.

    Args:
        base: checked folder of the model that the adapter is for.
        adapter: checked folder of the adapter.
        rendering: how records are written with it.

    Raises:
        InputError: it cannot be read, or its chat template fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        has_vocabulary = any((adapter / name).is_file() for name in VOCABULARIES)
        if not (has_vocabulary and (adapter / SETTINGS[0]).is_file()):
            _copy(base, folder, (*SETTINGS, *(() if has_vocabulary else (*VOCABULARIES, *OTHERS))))
            if not _has_template(adapter, tokenizer_settings(adapter)):
                _copy_templates(base, folder)
        _copy(adapter, folder, (*VOCABULARIES, *SETTINGS, *OTHERS))
        _copy_templates(adapter, folder)
        return read_tokenizer(folder, load_config(base), adapter.name, rendering)


def _has_template(folder: Path, settings: dict[str, Any]) -> bool:
    files = any((folder / name).is_file() for name in TEMPLATE_FILES)
    return files or bool(settings.get("chat_template")) or (folder / TEMPLATES).is_dir()


def _copy_templates(source: Path, folder: Path) -> None:
    _copy(source, folder, TEMPLATE_FILES)
    if (source / TEMPLATES).is_dir():
        shutil.copytree(source / TEMPLATES, folder / TEMPLATES)


def _copy(source: Path, folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
