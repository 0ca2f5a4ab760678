"""Reads configuration and tokenizer of a checked model folder; code and broken templates are refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerFast

from expunge.data.templates import DEFAULT, Rendering, attach, chat_template, rendering_of, write_turns
from expunge.errors import ExpungeWarning, InputError
from expunge.models.vocabulary import fit_vocabulary

PROBE = "Anna, born 1984, lives at 7 Rue du Café; she writes."


def load_config(path: Path) -> PretrainedConfig:
    """Reads the configuration of a checked model folder.

    Raises:
        InputError: of a model type that transformers does not know, or with values of the wrong type.
    """
    try:
        found: PretrainedConfig = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # validation in transformers raises classes of its own
        raise InputError(f"The configuration of {path.name!r} cannot be loaded: {first_line(error)}") from error
    return found


def load_tokenizer(path: Path, rendering: Rendering = DEFAULT) -> Any:
    """Reads the tokenizer of a checked model folder.

    Args:
        path: the folder.
        rendering: how records are written with it.

    Raises:
        InputError: it cannot be read, transformers would make another one of it, the model has no row for a token
            that it needs, or records cannot be written by the rendering.
    """
    config = load_config(path)
    tokenizer = read_tokenizer(path, config, path.name, rendering)
    rows = embedding_rows(config)
    if rows is not None:
        fit_vocabulary(tokenizer, rows)
    return tokenizer


def read_tokenizer(path: Path, config: PretrainedConfig, name: str, rendering: Rendering = DEFAULT) -> Any:
    """Reads the tokenizer files of a folder, whatever rows the model has.

    Args:
        path: folder with the files of a tokenizer.
        config: of the model, whose type decides the class of the tokenizer.
        name: of the folder, for messages.
        rendering: how records are written with it.

    Raises:
        InputError: it cannot be read, transformers would make another one of it, or records cannot be written by the
            rendering.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, config=config, trust_remote_code=False, local_files_only=True)
        file = path / "tokenizer.json"
        written = Tokenizer.from_file(str(file)) if file.is_file() else None
    except Exception as error:  # tokenizers raises bare Exception
        raise InputError(f"The tokenizer of {name!r} cannot be loaded: {first_line(error)}.") from error
    if written is not None and isinstance(tokenizer, PreTrainedTokenizerFast):
        _check_tokenizer(tokenizer, written)
    _check_kind(tokenizer)
    attach(tokenizer, rendering)
    _check_template(tokenizer)
    return tokenizer


def _check_kind(tokenizer: Any) -> None:
    """Refuses a chat template that is not text."""
    template = tokenizer.chat_template
    texts = template.values() if isinstance(template, dict) else [template or ""]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(
            f"The chat template of the tokenizer is not text but {type(template).__name__}; correct chat_template in "
            "tokenizer_config.json, or remove it."
        )


def _check_template(tokenizer: Any) -> None:
    """Refuses a chat template that no conversation can be written with, or not the same way twice.

    A template may refuse some roles or orders of turns; one question and one answer is what every record needs.
    """
    if not chat_template(tokenizer):
        return
    turns = [{"role": "user", "content": PROBE}, {"role": "assistant", "content": PROBE}]
    system = rendering_of(tokenizer).system.strip()
    try:
        first, second = (write_turns(tokenizer, turns) for _ in range(2))
    except InputError:
        raise
    except Exception as error:  # a template is a program and may fail in any way
        if system:  # without the error, which may repeat the system prompt
            raise InputError(
                f"--system: the chat template fails on a system prompt, a question and its answer "
                f"({type(error).__name__}). Leave out --system, or pass a template that takes one with --template."
            ) from None
        whose = "of the file" if rendering_of(tokenizer).jinja is not None else "of the tokenizer"
        raise InputError(
            f"The chat template {whose} fails on one question with its answer ({first_line(error).rstrip('.')}). "
            "Correct the template, pass another with --template, or pass --template plain for plain questions and "
            "answers."
        ) from error
    if first != second:
        raise InputError(
            "The chat template of the tokenizer writes the same question in another way each time, so no number could "
            "be repeated. Correct the template, or pass another with --template."
        )
    if system and system not in first:
        raise InputError(
            "--system: the chat template writes no system prompt before a question with its answer. Leave out "
            "--system, or pass a template that does with --template."
        )


def _check_tokenizer(tokenizer: PreTrainedTokenizerFast, written: Tokenizer) -> None:
    """Refuses a tokenizer that is not the one of tokenizer.json.

    For some model types transformers builds a class of its own from the vocabulary, whatever was saved: a word-level
    tokenizer beside a qwen2 model comes back as a BPE that turns every text into no tokens, without a word.
    """
    loaded = tokenizer.backend_tokenizer
    name = type(tokenizer).__name__
    if type(loaded.model) is not type(written.model) or loaded.get_vocab() != written.get_vocab():
        raise InputError(
            f"transformers loads tokenizer.json as {name}, which is another tokenizer ({type(loaded.model).__name__} "
            f"in place of {type(written.model).__name__}, or another vocabulary). Use the tokenizer of this model "
            "type, or another model type."
        )
    if loaded.encode(PROBE, add_special_tokens=False).ids != written.encode(PROBE, add_special_tokens=False).ids:
        warnings.warn(
            f"transformers loads tokenizer.json as {name}, which splits text in another way than the file says. "
            "Compare the tokens with those the model was trained on.",
            ExpungeWarning,
            stacklevel=4,
        )


def embedding_rows(config: PretrainedConfig) -> int | None:
    """Rows of the embedding; None where the configuration does not say."""
    return getattr(config.get_text_config(), "vocab_size", None)


def first_line(error: Exception) -> str:
    """Class and first line of the message of an error of another library."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
