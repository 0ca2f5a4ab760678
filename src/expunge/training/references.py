"""Chooses and builds the reference of each view that declares one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from peft import PeftModel

from expunge.data.batch import Example, collate
from expunge.data.batching import length_buckets
from expunge.methods.base import ViewSpec
from expunge.models.reference import AdapterOffReference, CachedReference, FrozenReference, freeze
from expunge.training.step import ReferenceLike

ReferenceKind = Literal["auto", "cached", "frozen"]


def build_references(
    model: Any,
    specs: Sequence[ViewSpec],
    examples: Mapping[str, Sequence[Example]],
    *,
    kind: ReferenceKind,
    pad_id: int,
    batch_size: int,
) -> dict[str, ReferenceLike]:
    """Returns a reference for each view that reads one. Call it before anything changes the model.

    ``auto`` takes the model itself where an adapter can be switched off, numbers computed once where log-probabilities
    suffice, and a frozen copy where whole distributions or hidden states are read.
    """
    wanted = [spec for spec in specs if spec.reference]
    if not wanted:
        return {}
    if kind == "auto" and isinstance(model, PeftModel):
        adapter_off = AdapterOffReference(model)
        return {spec.name: adapter_off for spec in wanted}
    frozen: FrozenReference | None = None
    found: dict[str, ReferenceLike] = {}
    for spec in wanted:
        if kind == "cached" or (kind == "auto" and not spec.reference & {"logits", "hidden"}):
            buckets = length_buckets([len(example.input_ids) for example in examples[spec.name]], batch_size)
            batches = (
                collate([examples[spec.name][row] for row in bucket], pad_id).to(model.device) for bucket in buckets
            )
            found[spec.name] = CachedReference.compute(model, batches, spec.reference)
        else:
            frozen = frozen or FrozenReference(freeze(model))
            found[spec.name] = frozen
    return found
