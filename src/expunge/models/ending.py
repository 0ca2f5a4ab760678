"""What ends an answer whose template writes no end: read off what a model itself puts there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch

from expunge.data.batch import Example, collate
from expunge.data.record import Record
from expunge.data.tokenize import pad_id, without_end
from expunge.models.load import LoadedModel
from expunge.models.modes import evaluating

SAMPLE = 32  # records that are read
BATCH = 8  # records in one pass
EXPECTED = 0.5  # mean probability from which a token counts as what the model puts after an answer

Source = Literal["model", "nothing", "template", "tokenizer"]


class Ending(NamedTuple):
    """What ends an answer.

    Attributes:
        token: end token where the template writes none; empty for no end, None for the tokenizer's.
        source: ``model`` or ``nothing`` by what the model puts after answers, ``template`` where no record needs it,
            ``tokenizer`` where nothing could be read.
        probability: mean probability of the likeliest end token after an answer, from 0 to 1; None where none was read.
        records: number of records that were read.
    """

    token: str | None
    source: Source
    probability: float | None
    records: int


def unended(records: Sequence[Record], tokenizer: Any, limit: int) -> list[Example]:
    """Returns a sample of records up to the end of their answer: of those after which no template writes an end.

    Args:
        records: of any kind.
        tokenizer: with its rendering.
        limit: longest record, tokens; longer ones are left out.
    """
    found = (without_end(record, tokenizer, max_length=limit) for record in records)
    examples = [example for example in found if example is not None and example.scored]
    return examples[:: max(1, len(examples) // SAMPLE)][:SAMPLE]


def find_ending(loaded: LoadedModel, examples: Sequence[Example]) -> Ending:
    """Returns the end token that a model expects after answers: one of its tokenizer's or its generation settings'.

    A model that was trained on answers with an end token gives that token most of the probability there. A model that
    was trained on running text, or with another end, gives it next to nothing, and a score of that token would say
    nothing about the answer.

    Args:
        loaded: the model before unlearning.
        examples: of ``unended``.
    """
    examples = [one for one in examples if len(one.input_ids) <= loaded.limit(len(one.input_ids))]
    if not examples:
        return Ending(None, "tokenizer", None, 0)
    candidates = _candidates(loaded)
    if not candidates:
        return Ending("", "nothing", None, len(examples))
    sums = torch.zeros(len(candidates), dtype=torch.float64)
    with torch.inference_mode(), evaluating(loaded.model):
        for start in range(0, len(examples), BATCH):
            rows = examples[start : start + BATCH]
            batch = collate(rows, pad_id=pad_id(loaded.tokenizer)).to(loaded.model.device)
            logits_BTV = loaded.model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT).logits
            last_B = batch.attention_mask_BT.sum(dim=1) - 1
            logits_BV = logits_BTV[torch.arange(len(rows), device=last_B.device), last_B].double()
            sums += logits_BV.softmax(dim=-1)[:, candidates].sum(dim=0).cpu()
    means = sums / len(examples)
    best = int(means.argmax())
    is_expected = float(means[best]) >= EXPECTED
    token = str(loaded.tokenizer.convert_ids_to_tokens(candidates[best])) if is_expected else ""
    return Ending(token, "model" if is_expected else "nothing", float(means[best]), len(examples))


def _candidates(loaded: LoadedModel) -> list[int]:
    """Ids of the end tokens of the tokenizer and of the generation configuration that the model has a row for."""
    configured = loaded.model.generation_config.eos_token_id
    several = configured if isinstance(configured, (list, tuple)) else [configured]
    rows = loaded.model.get_input_embeddings().weight.shape[0]
    found = dict.fromkeys((loaded.tokenizer.eos_token_id, *several))
    return [int(one) for one in found if one is not None and one < rows]
