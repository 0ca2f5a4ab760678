"""A model that can be read like a table: each word leads to its successor, in every layer alike, with no training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from expunge.data.record import Record
from expunge.models.load import LoadedModel
from expunge.storage.secret import Secret
from tests.models.conftest import VOCABULARY, make_tokenizer

WIDTH = 104  # a dimension for each word, and some to spare
END = 2


def lookup(successors: Mapping[int, int], *, layers: int = 2, hacked: bool = False) -> LoadedModel:
    """Says after word t the word ``successors[t]``; where there is none, all words are as likely.

    Blocks add nothing, so every layer holds what the last one holds. With ``hacked`` the last block turns the state of
    a word around, so that its successor becomes the least likely word of all.
    """
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=END,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        if hacked:
            # silu(10 e) * 10 e is about 104 e, the state is e itself: it leaves as about -103 e.
            for part, sign in ((block.mlp.gate_proj, 1), (block.mlp.up_proj, 1), (block.mlp.down_proj, -1)):
                part.weight.copy_(sign * torch.eye(WIDTH))
        model.model.embed_tokens.weight.copy_(torch.eye(VOCABULARY, WIDTH))
        model.lm_head.weight.zero_()
        for word, successor in successors.items():
            model.lm_head.weight[successor, word] = 1.0
    return LoadedModel(model, make_tokenizer(), "lookup")


def record(
    index: int, prompt: str, answer: str, *, split: str = "forget", subject: str | None = None, kind: str = "completion"
) -> Record:
    """A record of words w3, w4, ...; prompt and answer stand verbatim one after the other."""
    label = f"{split} record {index}"
    return Record(
        index=index,
        split=split,
        kind=kind,
        prompt=Secret(prompt, label),
        answer=Secret(answer, label),
        subject=None if subject is None else Secret(subject, label),
    )
