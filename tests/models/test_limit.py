"""A model is never asked about positions that it does not have, and banned tokens cost a number, not infinity."""

from __future__ import annotations

import json

import numpy as np
import torch

from expunge.data.reader import read_records
from expunge.evaluation.answering import answer_needs
from expunge.evaluation.forward import IMPOSSIBLE
from expunge.metrics.base import Need
from expunge.models.load import LoadedModel


def records(tmp_path, text: str):
    path = tmp_path / "forget.jsonl"
    path.write_text(json.dumps({"text": text}) + "\n")
    return {"forget": read_records(path, "forget").records}


def test_records_are_cut_to_the_positions(model, tokenizer, tmp_path):
    loaded = LoadedModel(model, tokenizer, "x")
    positions = model.config.max_position_embeddings
    assert loaded.limit(10 * positions) == positions
    assert loaded.limit(3) == 3
    need = Need(kind="token_logps", split="forget")
    text = " ".join(f"w{5 + number % 40}" for number in range(3 * positions))
    found = answer_needs(loaded, records(tmp_path, text), [need], max_length=10 * positions, batch_size=1)
    assert 0 < len(found[need][0][0]) < positions


def test_a_banned_token_has_a_finite_log_probability(model, tokenizer, tmp_path):
    loaded = LoadedModel(model, tokenizer, "x")
    head = model.get_output_embeddings()
    hook = head.register_forward_hook(lambda module, args, out: out.index_fill(-1, torch.tensor([7]), float("-inf")))
    needs = [Need(kind=kind, split="forget") for kind in ("token_logps", "moments", "ranks")]
    found = answer_needs(loaded, records(tmp_path, "w5 w6 w7 w8"), needs, max_length=16, batch_size=1)
    hook.remove()
    logps = found[needs[0]][0][0]
    assert (logps == IMPOSSIBLE).sum() == 1
    assert all(np.isfinite(found[need][0][0]).all() for need in needs)
