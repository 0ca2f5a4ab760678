"""``fictional``: invented persons with private attributes, by coin in retain, forget or holdout. The default.

A pure function of preset and seed. It writes no file unless asked to, and needs nothing from outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from expunge.benchmarks.base import Benchmark, Recipe
from expunge.benchmarks.fictional.generate import PRESETS, Preset, rows
from expunge.benchmarks.fictional.manifest import manifest, write_rows
from expunge.benchmarks.fictional.tokenizer import build_tokenizer
from expunge.data.record import Record
from expunge.registry import benchmarks
from expunge.storage.secret import Secret


@benchmarks.register("fictional")
@dataclass(frozen=True, kw_only=True)
class Fictional(Benchmark):
    """Invented persons; teacher persons among the retained teach the held-out wordings.

    Attributes:
        preset: ``smoke`` (24/8/8 persons, 4 facts each) proves that everything runs; ``demo`` is larger.
        seed: of everything.
    """

    training_splits: ClassVar[tuple[str, ...]] = ("retain", "forget", "teacher", "world_facts")
    paper: ClassVar[str] = "Expunge; column names from Maini et al. (TOFU), 2024, https://arxiv.org/abs/2401.06121"

    preset: Literal["smoke", "demo"] = "smoke"
    seed: int = 0

    @property
    def numbers(self) -> Preset:
        """Sizes and training recipe of the preset."""
        return PRESETS[self.preset]

    @property
    def recipe(self) -> Recipe:
        """How the original and the retrained model are trained."""
        return self.numbers.recipe

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """Returns plain rows by split, with TOFU's column names."""
        return rows(self.numbers, self.seed)

    def splits(self) -> dict[str, list[Record]]:
        """Returns the records of every split."""
        return {
            split: [_record(split, index, row) for index, row in enumerate(found)]
            for split, found in self.rows().items()
        }

    def tokenizer(self) -> Any:
        """Returns a byte-level BPE tokenizer trained on other invented persons, so that it holds nothing of these."""
        return build_tokenizer(self.seed)

    def model_config(self, tokenizer: Any) -> Any:
        """Returns the configuration of a small Llama for this preset, about 0.7 million parameters."""
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=352,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )

    def write(self, folder: Path) -> None:
        """Writes one JSONL file for each split, and ``manifest.json`` with their SHA-256."""
        write_rows(folder, self.rows(), self.manifest())

    def manifest(self) -> dict[str, Any]:
        """Returns seed, preset, counts, and the SHA-256 of every split and of the tokenizer."""
        return manifest(self.preset, self.seed, self.rows(), self.tokenizer())


def _record(split: str, index: int, row: dict[str, Any]) -> Record:
    label = f"{split} record {index}"

    def secret(key: str) -> Secret | None:
        return Secret(row[key], label) if key in row else None

    return Record(
        index=index,
        split=split,
        kind="qa",
        prompt=Secret(row["question"], label),
        answer=Secret(row["answer"], label),
        id=secret("id"),
        subject=secret("subject"),
        paraphrased_question=secret("paraphrased_question"),
        paraphrased_answer=secret("paraphrased_answer"),
        perturbed_answers=tuple(Secret(text, label) for text in row.get("perturbed_answer", ())),
    )
