"""Unlearning depth score (UDS): which layers of a model still lead the original to the answer.

Public code and paper draft: https://github.com/gnueaj/unlearning-depth-score.

Hidden states of one layer of a source model take the place of the original's at the positions that predict the answer;
what the original's log-probability of the answer loses is what that layer of the source does not know.

``Delta_l = mean log p(y | original) - mean log p(y | original, h_l := h_l of the source)``, nats per token.

Shapes: N records, B sequences, T tokens, D width, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from expunge.attacks.base import AttackTask, Probe, ProbeAttack, Threat
from expunge.attacks.inside import ALL, Scored, batches, encode_scored
from expunge.data.batch import Batch
from expunge.errors import InputError, MissingNeedError
from expunge.functional.logprobs import predicting_mask
from expunge.metrics.base import Floats
from expunge.models.load import LoadedModel
from expunge.models.modes import evaluating
from expunge.models.modules import base_model, blocks, resolve_layers
from expunge.models.reading import Intervention, read
from expunge.registry import attacks

DEPTH = "all layers"


@attacks.register("uds")
@dataclass(frozen=True, kw_only=True)
class UnlearningDepth(ProbeAttack):
    """Puts hidden states of the model into the original, layer by layer, and reads whether it still knows the answer.

    Values are 1 - UDS: 1 where all is there as in the original, 0 where every layer lacks what the retrained model's
    lacks. Records that the retrained model's layers lack nothing of (by ``threshold``) have no number.

    Attributes:
        layers: which ones, see ``resolve_layers``.
        threshold: nats per token that a layer of the retrained model must cost to count.
        scored: ``value``, the fact in the answer, as in the paper; ``answer``, all of it.
    """

    threat: ClassVar[Threat] = Threat(
        "latent", "weights", "UDS, https://github.com/gnueaj/unlearning-depth-score", original=True, retrained=True
    )
    decides: ClassVar[bool] = False  # the control is 0 without noise, so that any other seed is above it
    title: ClassVar[str] = "activation patching (UDS)"
    axis: ClassVar[str] = "layer"
    unit: ClassVar[str] = "1 - UDS: share of what the original's layers know, 0 to 1"
    paper_budget: ClassVar[Mapping[str, Any]] = {}  # all layers, threshold 0.05: the same

    layers: str = ALL
    threshold: float = 0.05
    scored: Scored = "value"

    def __post_init__(self) -> None:
        if self.threshold <= 0 or self.scored not in ("value", "answer"):
            raise InputError(
                f"threshold={self.threshold}, scored={self.scored}: a threshold above 0, scored value or answer."
            )

    def probe(self, loaded: LoadedModel, task: AttackTask) -> Probe:
        """1 - UDS of each record, and the same of each layer by itself.

        Raises:
            InputError: the models have different architectures or tokenizers.
            MissingNeedError: the original or the retrained model is missing.
        """
        self.check(task)
        if task.original is None or task.retrained is None:  # refused by check; says it to the type checker
            raise MissingNeedError("The attack takes the original and the retrained model.")
        original, retrained = task.original(), task.retrained()
        for other in (loaded, retrained):
            check_same(original, other, task)
        layers = resolve_layers(original.model, self.layers)
        lost = self._lost(original, {"retrained": retrained, "own": loaded}, layers, task)
        return self._result(layers, lost["retrained"], lost["own"])

    def _result(self, layers: Sequence[int], first_NL: Floats, second_NL: Floats) -> Probe:
        kept_NL = kept_shares(first_NL, second_NL, self.threshold)
        values = {DEPTH: 1 - depth_scores(first_NL, second_NL, self.threshold)}
        values |= {f"layer {layer}": kept_NL[:, place] for place, layer in enumerate(layers)}
        details: dict[str, float] = {"records": float(np.sum(~np.isnan(values[DEPTH])))}
        for name, lost_NL in (("retrained", first_NL), ("own", second_NL)):
            means_L = np.nanmean(lost_NL, axis=0) if len(lost_NL) else np.full(len(layers), np.nan)
            details |= {f"{name}_lost_layer_{layer}": float(mean) for layer, mean in zip(layers, means_L, strict=True)}
        return Probe(values, DEPTH, details, {f"layer {layer}": float(layer) for layer in layers})

    def _lost(
        self, original: LoadedModel, sources: Mapping[str, LoadedModel], layers: Sequence[int], task: AttackTask
    ) -> dict[str, Floats]:
        """For each source (N, L): what the original's answer loses, nats per token; NaN where nothing is scored."""
        examples = encode_scored(task.forget, original, task, self.scored)
        scored = [example for example in examples if example.scored]
        found = {name: np.full((len(examples), len(layers)), np.nan) for name in sources}
        with torch.inference_mode(), ExitStack() as stack:
            for model in (original.model, *(source.model for source in sources.values())):
                stack.enter_context(evaluating(model))
            for batch in batches(scored, original, task, "uds"):
                own_B1 = read(original.model, batch).mean_logps[:, None]
                for name, source in sources.items():
                    lost_BL = own_B1 - patched_logps(original.model, source.model, batch, layers)
                    found[name][batch.rows_B.cpu().numpy()] = lost_BL.double().cpu().numpy()
        return found


def patched_logps(original: Any, source: Any, batch: Batch, layers: Sequence[int]) -> Tensor:
    """Returns (B, L): the original's mean log-probability with states of the source in one layer, nats per token.

    States are replaced where they predict a scored token, and nowhere else.

    Args:
        original: the model that is patched.
        source: the model whose states are put in; the same architecture.
        batch: on the original's device.
        layers: one at a time.
    """
    states = read(source, batch.to(source.device), hidden_layers=layers, logits=False).hidden_states
    mask_BT1 = predicting_mask(batch.labels_BT)[..., None]

    def put(states_BTD: Tensor) -> Intervention:
        return lambda hidden_BTD: torch.where(mask_BT1, states_BTD.to(hidden_BTD), hidden_BTD)

    found = [read(original, batch, interventions={layer: put(states[layer])}).mean_logps for layer in layers]
    return torch.stack(found, dim=-1)


def kept_shares(first_NL: Floats, second_NL: Floats, threshold: float) -> Floats:
    """Returns (N, L): ``1 - clip(Delta2 / Delta1, 0, 1)``, NaN where Delta1 is not above the threshold."""
    counts_NL = first_NL > threshold
    ratio_NL = np.divide(second_NL, first_NL, out=np.full_like(first_NL, np.nan), where=counts_NL)
    kept_NL: Floats = 1 - np.clip(ratio_NL, 0, 1)
    return kept_NL


def depth_scores(first_NL: Floats, second_NL: Floats, threshold: float) -> Floats:
    """Returns UDS (N,): ``sum_l Delta1 clip(Delta2 / Delta1, 0, 1) / sum_l Delta1`` over layers above the threshold.

    0 is intact, 1 erased; NaN where no layer counts.

    Args:
        first_NL: Delta1, losses by the retrained model's states, nats per token.
        second_NL: Delta2, losses by the unlearned model's.
        threshold: least Delta1 of a layer that counts, above 0.
    """
    counts_NL = first_NL > threshold
    weights_NL = np.where(counts_NL, first_NL, 0.0)
    totals_N = weights_NL.sum(-1)
    erased_N = np.where(counts_NL, np.clip(second_NL, 0, weights_NL), 0.0).sum(-1)
    scores_N: Floats = np.divide(erased_N, totals_N, out=np.full_like(totals_N, np.nan), where=totals_N > 0)
    return scores_N


def check_same(original: LoadedModel, other: LoadedModel, task: AttackTask) -> None:
    """Refuses models whose states do not fit into the original.

    Raises:
        InputError: another class, number of layers or width, or a tokenizer that reads the records otherwise.
    """
    shapes = []
    for model in (original.model, other.model):
        inner: Any = base_model(model)
        shapes.append((type(inner).__name__, len(blocks(model)), inner.config.get_text_config().hidden_size))
    if shapes[0] != shapes[1]:
        raise InputError(
            f"Hidden states of {shapes[1][0]} ({shapes[1][1]} layers of width {shapes[1][2]}) do not fit into the "
            f"original, {shapes[0][0]} ({shapes[0][1]} layers of width {shapes[0][2]}). Leave out the attack uds."
        )
    ours, theirs = (
        [example.input_ids for example in encode_scored(task.forget, loaded, task, "answer")]
        for loaded in (original, other)
    )
    if ours != theirs:
        raise InputError(
            "The tokenizers of the original and of the other model split the forget records differently, so their "
            "states stand at different places. Leave out the attack uds."
        )
