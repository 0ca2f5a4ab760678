"""Untrained model folders with a byte tokenizer, and the command line on them in the test's own process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, PretrainedConfig, PreTrainedTokenizerFast

from expunge.cli import main
from expunge.models.load import build_model, save_model

ROWS = 257  # bytes and one end token


def byte_tokenizer(**specials: str) -> PreTrainedTokenizerFast:
    """One token for each byte and ``<end>``, with further special tokens that get ids of their own."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator([], trainers.BpeTrainer(special_tokens=["<end>"], initial_alphabet=alphabet))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **{"eos_token": "<end>", "bos_token": "<end>"})
    if specials:
        tokenizer.add_special_tokens(specials)
    return tokenizer


def llama_config(layers: int = 1, **changes: Any) -> LlamaConfig:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4}
    ids = {"vocab_size": ROWS, "bos_token_id": 0, "eos_token_id": 0}
    return LlamaConfig(**{**sizes, **ids, "max_position_embeddings": 128, **changes})


def make_folder(
    place: Path, config: PretrainedConfig | None = None, tokenizer: PreTrainedTokenizerFast | None = None
) -> Path:
    """Saves an untrained model."""
    place.parent.mkdir(exist_ok=True)
    save_model(build_model(config or llama_config(), seed=0), tokenizer or byte_tokenizer(), place)
    return place


def records(place: Path) -> dict[str, Path]:
    """Files of three records each to forget and to retain."""
    found = {}
    for split in ("forget", "retain"):
        found[split] = place / f"{split}.jsonl"
        rows = [{"question": f"Which {split} number is {row}?", "answer": f"It is {row}."} for row in range(3)]
        found[split].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return found


def unlearn(model: Path, *flags: str, verb: str = "unlearn", steps: bool = True, audit: bool = False) -> int:
    """Runs two steps of ``expunge unlearn`` beside the model folder, with or without an audit; the exit code.

    Without ``steps``, for methods that have none.
    """
    files = records(model.parent)
    given = [flag for split, file in files.items() for flag in (f"--{split}", str(file))]
    fixed = [*(["--set", "max_steps=2"] if steps else []), *([] if audit else ["--no-audit"])]
    fixed += ["--out", str(model.parent / "out")]
    return main([verb, str(model), *given, *fixed, *flags])
