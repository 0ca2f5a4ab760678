"""Reads every layer of a model through its output layer (logit lens).

As an attack on unlearned models: Patil et al., 2024, https://arxiv.org/abs/2309.17410; Łucki et al., 2025,
https://arxiv.org/abs/2409.18025. The lens: ``expunge.models.lens``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from expunge.attacks.base import AttackTask, Probe, ProbeAttack, Threat
from expunge.attacks.inside import ALL, Scored, batches, encode_scored
from expunge.data.batch import Batch
from expunge.errors import InputError
from expunge.functional.logprobs import predicting_mask, ranks
from expunge.metrics.base import Floats
from expunge.metrics.memorisation import exact_memorisation, extraction_strength
from expunge.models.lens import Lens, lens_of
from expunge.models.load import LoadedModel
from expunge.models.modes import evaluating
from expunge.models.modules import blocks, resolve_layers
from expunge.models.reading import read
from expunge.registry import attacks

Ranks = NDArray[np.int64]
MEASURES = {"share": exact_memorisation, "strength": extraction_strength}
ANY = "any layer"


@attacks.register("logit_lens")
@dataclass(frozen=True, kw_only=True)
class LogitLens(ProbeAttack):
    """Reads the answer from inner layers through the model's own output layer, the true tokens before it given.

    What decides is the best layer of each record, whichever it is: an attacker sees all of them. A fixed rule, the
    same for the retrained model, which gains by it what chance gives.

    Attributes:
        layers: which ones, see ``resolve_layers``.
        measure: ``share`` of the tokens that are the layer's first choice; ``strength``, how much of the end of the
            answer is (extraction strength).
        scored: ``value``, the fact in the answer; ``answer``, all of it.
    """

    threat: ClassVar[Threat] = Threat("latent", "weights", "Patil et al., 2024, https://arxiv.org/abs/2309.17410")
    title: ClassVar[str] = "logit lens"
    axis: ClassVar[str] = "layer"
    unit: ClassVar[str] = "share of tokens read from one layer, 0 to 1"

    layers: str = ALL
    measure: Literal["share", "strength"] = "share"
    scored: Scored = "value"

    def __post_init__(self) -> None:
        if self.measure not in MEASURES or self.scored not in ("value", "answer"):
            raise InputError(
                f"measure={self.measure}, scored={self.scored}: measure is share or strength, scored value or answer."
            )

    def probe(self, loaded: LoadedModel, task: AttackTask) -> Probe:
        """Values of each layer, and the best of each record; mean reciprocal ranks in the details."""
        found = self._ranks(loaded, task)
        values = {f"layer {layer}": self._values(ranks_N) for layer, ranks_N in found.items()}
        details = {f"reciprocal_rank_layer_{layer}": _reciprocal(ranks_N) for layer, ranks_N in found.items()}
        best_N: Floats = np.max(list(values.values()), axis=0)  # a record without tokens is NaN in each
        # The last layer through the lens is what the model itself says.
        plain = f"layer {len(blocks(loaded.model)) - 1}"
        at = {f"layer {layer}": float(layer) for layer in found}
        return Probe({ANY: best_N, **values}, ANY, details, at, plain)

    def _values(self, ranks_N: Sequence[Ranks]) -> Floats:
        return np.array([MEASURES[self.measure](ranks_T) for ranks_T in ranks_N], dtype=np.float64)

    def _ranks(self, loaded: LoadedModel, task: AttackTask) -> Mapping[int, list[Ranks]]:
        """For each layer, the ranks of each record's tokens."""
        examples = encode_scored(task.forget, loaded, task, self.scored)
        lens, layers = lens_of(loaded.model), resolve_layers(loaded.model, self.layers)
        found: dict[int, list[Ranks]] = {layer: [np.zeros(0, np.int64)] * len(examples) for layer in layers}
        with torch.inference_mode(), evaluating(loaded.model):
            for batch in batches(examples, loaded, task, "logit_lens"):
                for layer, ranks_B in layer_ranks(loaded.model, lens, batch, layers).items():
                    for row, ranks_T in zip(batch.rows_B.tolist(), ranks_B, strict=True):
                        found[layer][row] = ranks_T
        return found


def layer_ranks(model: torch.nn.Module, lens: Lens, batch: Batch, layers: Sequence[int]) -> Mapping[int, list[Ranks]]:
    """For each layer, the ranks (T,) of each record's scored tokens among all that the layer speaks for.

    The number of tokens that the layer prefers, as ``expunge.functional.logprobs.ranks`` counts them.
    """
    reading = read(model, batch, hidden_layers=layers, logits=False)
    mask_BT = predicting_mask(batch.labels_BT)
    sizes = mask_BT.sum(-1).tolist()
    found: dict[int, list[Ranks]] = {}
    for layer in layers:
        ranks_N = ranks(lens(reading.hidden(layer)[mask_BT]), reading.labels).cpu()
        found[layer] = [part.numpy() for part in torch.split(ranks_N, sizes)]
    return found


def _reciprocal(ranks_N: Sequence[Ranks]) -> float:
    """Mean over records of the mean of 1 / (1 + rank) over tokens; NaN of none."""
    means = [float(np.mean(1 / (1 + ranks_T))) for ranks_T in ranks_N if len(ranks_T)]
    return float(np.mean(means)) if means else float("nan")
