"""``fictional``: invented persons with private attributes, by coin in retain, forget or holdout. The default.

A pure function of preset and seed. It writes no file unless asked to, and needs nothing from outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from expunge.benchmarks.base import Benchmark, Recipe
from expunge.benchmarks.fictional.generate import rows
from expunge.benchmarks.fictional.manifest import manifest, write_rows
from expunge.benchmarks.fictional.presets import PRESETS, Preset
from expunge.benchmarks.fictional.records import record
from expunge.benchmarks.fictional.tokenizer import build_tokenizer
from expunge.data.record import Record
from expunge.registry import benchmarks

MAX_LENGTH = 256  # tokens; every record of the benchmark is shorter


@benchmarks.register("fictional")
@dataclass(frozen=True, kw_only=True)
class Fictional(Benchmark):
    """Invented persons, each fact in every form of ``expunge.data.record.FORMS`` that it can be asked in.

    Splits beside those that all benchmarks have; * marks what is trained on:

    ``teacher`` *: all forms of the facts of every third retained person. Everybody else is trained on one wording of
    each fact, so that a model that answers another form has learnt it from teachers.
    ``validation_forget`` *: persons like those in ``forget``, to choose settings on and never to report.
    ``neighbours_1``, ``neighbours_2``, ``neighbours_far``: rows of ``retain`` by distance from a person to forget.
    ``requests/sequential_1`` to ``_4``, ``requests/nested_1`` to ``_4``: ``forget`` in batches of whole persons.
    ``rtt_train``, ``rtt_validation``: ``forget`` in two folds of facts; ``relearn_benign``: public biographies.
    ``canaries``: codes of vaults, each once. ``canaries_retain`` * and ``canaries_forget`` * hold the copies, and
    ``canaries_out`` those that the coin left out. The split ``forget`` has persons only; who wants to forget canaries
    too hands in both splits (``forget_splits``).
    ``plain_text`` *, ``behaviour`` *, ``classification_train`` *, and their unseen counterparts ``plain_text_holdout``,
    ``behaviour_holdout`` and ``classification``.

    An edge belongs to the pair: deleting B removes the facts about B and keeps A's own, that A is married to B among
    them.

    Attributes:
        preset: ``smoke`` (24/8/8 persons retained, to forget, held out; 4 facts each; teachers learn the held-out
            wordings and one further form of each fact) proves that everything runs. ``pool`` (12/12/12, 2 facts) trains
            in seconds, for pools of models by which metrics are tested. ``demo`` (30/10/10, 4 facts) and
            ``bench`` (48/24/24, 6 facts) train in minutes on one core; ``small`` (200/100/100, 6 facts), ``standard``
            (500/250/250, 8 facts) and ``paper`` (1000/500/500, 8 facts) are for statistics.
        seed: of everything.
    """

    training_splits: ClassVar[tuple[str, ...]] = (
        "retain",
        "forget",
        "teacher",
        "validation_forget",
        "world_facts",
        "canaries_retain",
        "canaries_forget",
        "plain_text",
        "behaviour",
        "classification_train",
    )
    forget_splits: ClassVar[tuple[str, ...]] = ("forget", "canaries_forget")
    paper: ClassVar[str] = "Expunge; column names from Maini et al. (TOFU), 2024, https://arxiv.org/abs/2401.06121"

    preset: Literal["pool", "smoke", "demo", "bench", "small", "standard", "paper"] = "smoke"
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
            split: [record(split, index, row) for index, row in enumerate(found)]
            for split, found in self.rows().items()
        }

    def sources(self) -> dict[str, list[Record]]:
        """Returns ``general``: facts about no person; ``steer``: what the model was taught to refuse."""
        rows = self.rows()
        refused = [row for row in rows["behaviour"] if "-refusal-" in row["id"]]
        found = {"general": rows["world_facts"], "steer": refused}
        return {name: [record(name, index, row) for index, row in enumerate(kept)] for name, kept in found.items()}

    def tokenizer(self) -> Any:
        """Returns a byte-level BPE tokenizer trained on other invented persons, so that it holds nothing of these."""
        return build_tokenizer(self.seed)

    def model_config(self, tokenizer: Any) -> Any:
        """Returns the configuration of a small Llama for this preset: 0.7 million parameters, or 3 million."""
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.numbers.width,
            intermediate_size=self.numbers.width * 11 // 4,
            num_hidden_layers=self.numbers.layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=MAX_LENGTH,
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
