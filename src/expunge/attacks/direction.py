"""Takes the direction away by which an unlearned model tells what it should not know.

Łucki et al., 2024, https://arxiv.org/abs/2409.18025, after Arditi et al., 2024, https://arxiv.org/abs/2406.11717.

Shapes: B sequences, T tokens, D width, N prompts, L blocks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from expunge.attacks.base import AttackTask, ModelAttack, Point, Threat
from expunge.attacks.saved import Saved, wide
from expunge.data.batch import IGNORE, Example, collate
from expunge.data.batching import length_buckets
from expunge.data.record import Record
from expunge.data.tokenize import encode, pad_id, prompt_ids
from expunge.errors import InputError
from expunge.models.load import LoadedModel
from expunge.models.modes import evaluating
from expunge.models.modules import attention_out, base_model, blocks, feed_forward_out, output_head, resolve_layers
from expunge.models.reading import read
from expunge.registry import attacks

CHECKED = 8  # prompts that are read again to see that nothing is written along the direction
LEFT = 0.1  # of what was written along it; rounding leaves less, in half precision too


@attacks.register("direction_ablation")
@dataclass(frozen=True, kw_only=True)
class DirectionAblation(ModelAttack):
    """Makes the weights unable to write along the direction in which forget and retain prompts differ most on average.

    The direction is the difference of two mean states after a block, at the last token of the prompt (of the text,
    where there is no prompt). All layers that write into the residual stream lose it: attention, feed-forward part,
    their biases, and embeddings. Arditi et al. take one block's direction for all, as here, and choose it by its
    effect, which here is told for each; Łucki et al. compare the unlearned model's states with the original's and give
    each block its own direction.

    Attributes:
        depths: blocks that directions are taken from, from 0.0, the first, to 1.0, the last.
        records: of either side, at most.
        embeddings: whether they lose it too, unless they are the output's weights, which read and do not write.
    """

    threat: ClassVar[Threat] = Threat(
        "weights",
        "weights",
        "Łucki et al., 2024, https://arxiv.org/abs/2409.18025; Arditi et al., 2024, https://arxiv.org/abs/2406.11717",
        splits=("retain",),
    )
    title: ClassVar[str] = "taking a direction away"
    axis: ClassVar[str] = "block that the direction is from, counted from 1"
    from_zero: ClassVar[bool] = False
    # Arditi et al.: 128 prompts of either kind, and blocks of the lower 80 %.
    paper_budget: ClassVar[Mapping[str, Any]] = {
        "records": 128,
        "depths": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    }

    depths: tuple[float, ...] = (0.25, 0.5, 0.75)
    records: int = 64
    embeddings: bool = True

    def __post_init__(self) -> None:
        """Refuses what names no block."""
        if not self.depths or not all(0 <= depth <= 1 for depth in self.depths) or self.records < 1:
            raise InputError(
                f"Directions need depths from 0.0 to 1.0 and at least one record, not {tuple(self.depths)} and "
                f"{self.records}."
            )

    @property
    def marks(self) -> int:
        """As it is, and without the direction of each block."""
        return 1 + len(self.depths)

    def act(self, loaded: LoadedModel, task: AttackTask, fold: int) -> Iterator[Point]:
        """Ablates the direction of each chosen block, each time from the saved weights."""
        layers = resolve_layers(loaded.model, [float(depth) for depth in self.depths])
        writers = residual_writers(loaded.model, embeddings=self.embeddings)
        prompts = {split: self._prompts(loaded, task, split) for split in ("forget", "retain")}
        forget_LD, retain_LD = (mean_states(loaded, prompts[split], layers, task) for split in ("forget", "retain"))
        saved = Saved({name: writer.weight for name, writer in writers.items()})
        checked = prompts["forget"][:CHECKED]
        before = _written(loaded, checked)
        yield Point(0)
        for place, layer in enumerate(layers):
            task.check_stop(attacks.name_of(self))
            difference_D = forget_LD[place] - retain_LD[place]
            direction_D = difference_D / difference_D.norm().clamp_min(torch.finfo(torch.float64).tiny)

            def ablated(name: str, kept: Tensor, gone: Tensor = direction_D) -> Tensor:
                return without(kept, gone, writers[name].axis)

            saved.set(ablated)
            _check_gone(loaded, before, _written(loaded, checked), direction_D)
            distance = float(difference_D.norm() / retain_LD[place].norm())
            yield Point(layer + 1, details={"relative_distance": distance})

    def _prompts(self, loaded: LoadedModel, task: AttackTask, split: str) -> list[Example]:
        records = task.splits[split]
        source = random.Random(f"{task.seed}:direction_ablation:{split}")  # noqa: S311 - no secret
        chosen = sorted(source.sample(range(len(records)), min(self.records, len(records))))
        limit = loaded.limit(task.max_length)
        return [_prompt(records[row], loaded.tokenizer, limit, place) for place, row in enumerate(chosen)]


class Writer(NamedTuple):
    """A tensor that is added to the residual stream, or multiplied by something and then added.

    Attributes:
        weight: matrix or bias.
        axis: the one that has the model's width.
    """

    weight: Tensor
    axis: int


def residual_writers(model: nn.Module, *, embeddings: bool) -> dict[str, Writer]:
    """Returns what writes into the residual stream: outputs of attention and feed-forward parts, biases, embeddings.

    Embeddings that are the output's weights too are left out.

    Raises:
        InputError: blocks whose parts cannot be told.
    """
    found: dict[str, Writer] = {}
    for number, block in enumerate(blocks(model)):
        for part, layer in (
            ("attention", attention_out(model, block)),
            ("feed_forward", feed_forward_out(model, block)),
        ):
            found[f"{number}.{part}"] = Writer(layer.weight, 1 if isinstance(layer, Conv1D) else 0)
            if layer.bias is not None:
                found[f"{number}.{part}.bias"] = Writer(layer.bias, 0)
    if not embeddings:
        return found
    width = base_model(model).config.get_text_config().hidden_size  # type: ignore[union-attr, operator]
    inside = {id(module) for block in blocks(model) for module in block.modules()}
    for name, module in base_model(model).named_modules():
        if not isinstance(module, nn.Embedding) or id(module) in inside or module.embedding_dim != width:
            continue
        if module.weight is not output_head(model).weight:
            found[name] = Writer(module.weight, 1)
    return found


def without(weights: Tensor, direction_D: Tensor, axis: int) -> Tensor:
    """Returns weights with no part along a unit vector: ``w - (w . r) r`` over one axis.

    In float32 at least and in the dtype of the weights again; a zero vector changes nothing.
    """
    rows = wide(weights).movedim(axis, -1)
    direction_D = direction_D.to(rows)
    return (rows - (rows @ direction_D)[..., None] * direction_D).movedim(-1, axis).to(weights.dtype)


@torch.no_grad()
def mean_states(loaded: LoadedModel, prompts: Sequence[Example], layers: Sequence[int], task: AttackTask) -> Tensor:
    """Returns the mean state after each block at the last token of prompts, (layers, D) in float64, on the CPU."""
    total: Tensor | float = 0.0
    for bucket in length_buckets([len(prompt.input_ids) for prompt in prompts], task.batch_size):
        task.check_stop("direction_ablation")
        chosen = [prompts[place] for place in bucket]
        batch = collate(chosen, pad_id(loaded.tokenizer)).to(loaded.model.device)
        last_B = torch.tensor([len(prompt.input_ids) - 1 for prompt in chosen], device=loaded.model.device)
        with evaluating(loaded.model):
            hidden = read(loaded.model, batch, hidden_layers=layers, logits=False).hidden_states
        rows_B = torch.arange(len(chosen), device=last_B.device)
        total = total + torch.stack([hidden[layer][rows_B, last_B].double().sum(0).cpu() for layer in layers])
    return torch.as_tensor(total) / len(prompts)


def _prompt(record: Record, tokenizer: Any, max_length: int, row: int) -> Example:
    """The tokens before the answer, or all where the answer is the whole text."""
    ids = [] if record.kind == "text" else prompt_ids(record, tokenizer, max_length=max_length)
    ids = ids or list(encode(record, tokenizer, row=row, max_length=max_length).input_ids)
    return Example(tuple(ids), (IGNORE,) * len(ids), row)


@torch.no_grad()
def _written(loaded: LoadedModel, prompts: Sequence[Example]) -> Tensor:
    """What each block but the first adds to each token, (blocks and tokens, D), on the CPU; empty for one block."""
    batch = collate(prompts, pad_id(loaded.tokenizer)).to(loaded.model.device)
    count = len(blocks(loaded.model))
    with evaluating(loaded.model):
        hidden = read(loaded.model, batch, hidden_layers=range(count), logits=False).hidden_states
    kept_BT = batch.attention_mask_BT.bool()
    added = [wide(hidden[layer][kept_BT]) - wide(hidden[layer - 1][kept_BT]) for layer in range(1, count)]
    return torch.cat([part.double().cpu() for part in added]) if added else torch.zeros(0, 0)


def _check_gone(loaded: LoadedModel, before: Tensor, after: Tensor, direction_D: Tensor) -> None:
    """Refuses an architecture whose blocks write along the direction still, as by a norm after the linear layer.

    Medians over blocks and tokens, since single huge states are all rounding.
    """
    if not before.numel():
        return
    old, new = (float((added @ direction_D).abs().median()) for added in (before, after))
    if new > LEFT * old:
        raise InputError(
            f"The blocks of {type(base_model(loaded.model)).__name__} write along a direction that was taken out of "
            "their attention and feed-forward outputs, such as by a norm after them or further experts. This "
            "architecture is not supported by the attack direction_ablation."
        )
