"""A tokenizer that never saw a person of the benchmark: byte-level BPE, trained on the other half of all names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from expunge.benchmarks.fictional.names import stream
from expunge.benchmarks.fictional.persons import ATTRIBUTES, invent
from expunge.benchmarks.fictional.templates import TEMPLATES
from expunge.benchmarks.fictional.world import world_facts

VOCABULARY = 1024
PERSONS = 200
PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"


def build_tokenizer(seed: int) -> Any:
    """Returns a ``PreTrainedTokenizerFast`` of 1,024 tokens that puts ``<bos>`` first; pure in its seed."""
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
    rng = stream(seed, "tokenizer/wording")
    for person in invent(seed, PERSONS, side="tokenizer"):
        for attribute in ATTRIBUTES:
            wording = rng.choice((*TEMPLATES[attribute].train, *TEMPLATES[attribute].held_out))
            answer = wording.answer.format(name=person.name, value=getattr(person, attribute))
            yield f"Question: {wording.question.format(name=person.name)}\nAnswer: {answer}"
    for fact in world_facts(seed, 120):
        yield f"Question: {fact.question}\nAnswer: {fact.answer}"
