"""Retain records that the model writes itself (``--retain self``)."""

from __future__ import annotations

from expunge.data.record import Record
from expunge.data.tokenize import encode
from expunge.models.load import LoadedModel
from expunge.models.sampling import sample_texts
from expunge.storage.secret import Secret
from expunge.training.distributed import shared

SELF_RECORDS = 256  # texts of --retain self


def own_records(loaded: LoadedModel, seed: int, max_length: int) -> list[Record]:
    """Samples texts from a model, the same in every process of a launch.

    Args:
        loaded: the model that writes.
        seed: of the draws.
        max_length: longest record, tokens.
    """
    texts = shared(
        lambda: sample_texts(
            loaded.model, loaded.tokenizer, count=SELF_RECORDS, max_new_tokens=min(128, max_length - 1), seed=seed
        )
    )
    records = [
        Record(index=index, split="retain", kind="text", answer=Secret(text, f"retain record {index}"))
        for index, text in enumerate(texts)
    ]
    # A text of a single token has nothing to score.
    return [one for one in records if encode(one, loaded.tokenizer, row=0, max_length=max_length).scored]
