"""Models trained from scratch on real records: an original, and its twin without the forget records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from expunge.config import Choice
from expunge.data.record import Record
from expunge.data.tokenize import encode_all, pad_id
from expunge.exact.retrain import FitTask, Retrain
from expunge.methods.preset import Axes, Training
from expunge.models.load import build_model, save_model

VOCABULARY, POSITIONS = 2048, 512
PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"


def text_of(record: Record) -> str:
    """Prompt and answer as one text."""
    prompt = "" if record.prompt is None else record.prompt.reveal()
    return f"Question: {prompt}\nAnswer: {record.answer.reveal()}"


def byte_bpe(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE of 2,048 tokens that has seen the given texts only."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [PAD, BOS, EOS]
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, special.index(BOS))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS)


def small_llama(
    tokenizer: PreTrainedTokenizerFast, *, width: int = 128, positions: int = POSITIONS, tied: bool = True
) -> LlamaConfig:
    """0.6 million parameters by default, enough to learn some hundred short answers by heart."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=positions,
        tie_word_embeddings=tied,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def train_pair(
    keep: Sequence[Record],
    forget: Sequence[Record],
    tokenizer: PreTrainedTokenizerFast,
    out: Path,
    *,
    epochs: int,
    batch_size: int,
) -> None:
    """Trains ``original`` on all records and ``retrained`` on the same batches without the forget records."""
    torch.set_num_threads(1)
    kept, forgotten = (encode_all(rows, tokenizer, max_length=POSITIONS).examples for rows in (keep, forget))
    training = Training(
        learning_rate=3e-3, epochs=epochs, batch_size=batch_size, micro_batch=batch_size, checkpoint_every=0
    )
    for role, shown, left_out in (("original", [*kept, *forgotten], ()), ("retrained", kept, forgotten)):
        model = build_model(small_llama(tokenizer), seed=0)
        Retrain().fit(
            FitTask(
                model=model,
                keep=shown,
                leave_out=left_out,
                axes=Axes(optimizer=Choice("adamw", {"beta2": 0.95})),
                training=training,
                pad_id=pad_id(tokenizer),
            )
        )
        save_model(model.eval(), tokenizer, out / role)
