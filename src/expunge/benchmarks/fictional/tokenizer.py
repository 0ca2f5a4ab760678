"""A tokenizer that never saw a person of the benchmark: byte-level BPE, trained on the other half of all names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from expunge.benchmarks.fictional.behaviour import behaviour
from expunge.benchmarks.fictional.canaries import canaries
from expunge.benchmarks.fictional.classification import classification
from expunge.benchmarks.fictional.facts import FactWriter
from expunge.benchmarks.fictional.names import stream
from expunge.benchmarks.fictional.persons import ATTRIBUTES, invent
from expunge.benchmarks.fictional.prose import plain_texts
from expunge.benchmarks.fictional.world import world_facts

VOCABULARY = 1280
PERSONS = 128
FACTS, LESSONS = 8, 16  # rows of each person: enough that every wording comes up often
PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"


def build_tokenizer(seed: int) -> Any:
    """Returns a ``PreTrainedTokenizerFast`` of 1,280 tokens that puts ``<bos>`` first; pure in its seed."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(seed), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS)


def _corpus(seed: int) -> Iterator[str]:
    """Every wording and form about other persons, and the parts about nobody under another name of the seed."""
    people = invent(seed, PERSONS, side="tokenizer")
    writer = FactWriter(people, ATTRIBUTES, seed, side="tokenizer")
    rng = stream(seed, "tokenizer/rows")
    for person in people:
        yield from (_text(row) for row in rng.sample(writer.lessons(person, None), LESSONS))
        yield from (_text(row) for row in rng.sample(writer.rows(person), FACTS))
    other = stream(seed, "tokenizer/seed").getrandbits(64)
    for parts in (plain_texts(other, 60), behaviour(other, 24), classification(other, 24), canaries(other, 60)):
        yield from (_text(row) for split in parts.values() for row in split)
    for fact in world_facts(seed, 120):
        yield f"Question: {fact.question}\nAnswer: {fact.answer}"


def _text(row: Mapping[str, Any]) -> str:
    if "text" in row:
        return str(row["text"])
    if "completion" in row:
        return f"{row['prompt']}{row['completion']}"
    return f"Question: {row['question']}\nAnswer: {row['answer']}"
