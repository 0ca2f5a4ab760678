"""What differs between two model folders, read tensor by tensor from their safetensors files."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from expunge.models.buffers import is_left_over
from expunge.models.folder import check_folder

EMBEDDINGS, OUTPUT = "embeddings", "output"
SLIGHT = 0.01  # of the part that changed most: less is no change, but a trace of one
EXACT = 1e-6  # relative difference that float32 may have: another order of a sum, and no step of training
CHUNK = 2**22  # weights that are compared at once: another model differs in the first of them
_LAYER = re.compile(r"\.(\d+)\.")  # the first number in a name is that of its block
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out|head)\.")  # the layer that makes logits, where it has weights of its own
_EMBEDS = re.compile(r"(embed|wte|wpe|project_in)")


class PartChange(NamedTuple):
    """The weights of one block, of the embeddings, or of what comes after the blocks.

    Attributes:
        part: number of the block from 0, ``embeddings`` or ``output``.
        weights: how many there are.
        changed: how many have another value.
        relative: norm of the difference divided by the norm of the original.
    """

    part: str
    weights: int
    changed: int
    relative: float


class Changes(NamedTuple):
    """Every part of a model, from the embeddings to the output.

    Attributes:
        parts: what changed in each.
        tied: whether the embeddings are the output's weights too.
        equal: whether the weights are equal up to rounding, see ``equal_weights``.
    """

    parts: tuple[PartChange, ...]
    tied: bool
    equal: bool = False

    @property
    def share(self) -> float:
        """Share of all weights that have another value."""
        return sum(part.changed for part in self.parts) / max(1, sum(part.weights for part in self.parts))

    @property
    def shallow(self) -> bool:
        """Whether something changed, and next to nothing below the last of several blocks.

        Embeddings that are the output's weights too count as output.
        """
        blocks = [part for part in self.parts if part.part not in (EMBEDDINGS, OUTPUT)]
        inputs = [part for part in self.parts if part.part == EMBEDDINGS and not self.tied]
        below = max((part.relative for part in (*inputs, *blocks[:-1])), default=0.0)
        most = max((part.relative for part in self.parts), default=0.0)
        return len(blocks) > 1 and most > 0 and below < SLIGHT * most


def changes(original: Path, candidate: Path) -> Changes | None:
    """Compares two checked model folders; None where they do not have the same tensors in the same shapes.

    Two tensors are in memory at a time.
    """
    with contextlib.ExitStack() as stack:
        old, new = _Weights.pair(stack, original, candidate)
        if set(old.places) != set(new.places):
            return None
        sums: dict[str, _Sum] = {}
        equal = True
        for name in old.places:
            left, right = old.tensor(name), new.tensor(name)
            if left.shape != right.shape:
                return None
            equal = equal and _equal(left, right)
            if not left.is_floating_point():
                continue
            part = _part(name)
            sums[part] = sums.get(part, _Sum(0, 0, 0.0, 0.0)).plus(left, right)
    tied = not any(_HEAD.search(name) for name in old.places)
    return Changes(tuple(sums[part].change(part) for part in sorted(sums, key=_order)), tied, equal)


def equal_weights(one: Path, other: Path) -> bool:
    """Returns whether two checked model folders have the same weights, up to the rounding of the coarser dtype.

    A copy in another dtype, with other shards or metadata, or with the output's weights saved beside the embeddings
    they are tied to, is equal. Each weight counts: at most the unit roundoff apart (relative, 2^-8 for bfloat16, 2^-11
    for float16, ``EXACT`` for float32; of both dtypes together where they differ), or one subnormal.

    A step of AdamW at a learning rate of 1e-5 is told from the original in float32 by every weight, in float16 and
    bfloat16 by the small ones, below 0.02 and 0.0025. What cannot be told apart: models whose large weights alone moved
    by less than the rounding. What is not seen: a copy with noise added, permuted neurons, or quantised storage.

    Reading stops at the first difference, and two tensors are in memory at a time.
    """
    with contextlib.ExitStack() as stack:
        left, right = _Weights.pair(stack, one, other)
        if set(left.places) != set(right.places):
            return False
        return all(_equal(left.tensor(name), right.tensor(name)) for name in left.places)


def _equal(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors are equal up to the rounding of their dtypes; NaN equals NaN."""
    if left.shape != right.shape:
        return False
    if not (left.is_floating_point() and right.is_floating_point()):
        return torch.equal(left, right)
    kinds = [torch.finfo(dtype) for dtype in {left.dtype, right.dtype}]
    relative = sum(max(EXACT, kind.eps / 2) for kind in kinds)
    absolute = max(kind.smallest_normal * kind.eps for kind in kinds)
    wide = torch.float64 if torch.float64 in (left.dtype, right.dtype) else torch.float32
    flat, other = left.flatten(), right.flatten()
    parts = (slice(start, start + CHUNK) for start in range(0, len(flat), CHUNK))
    return all(
        torch.allclose(flat[part].to(wide), other[part].to(wide), rtol=relative, atol=absolute, equal_nan=True)
        for part in parts
    )


class _Weights(NamedTuple):
    """Where each tensor of a folder lies, and under which name where that is another."""

    places: dict[str, safe_open]
    names: dict[str, str]

    @classmethod
    def pair(cls, stack: contextlib.ExitStack, one: Path, other: Path) -> tuple[_Weights, _Weights]:
        """Opens two folders, with tied weights under the same names in both."""
        left, right = (cls.opened(stack, check_folder(folder).weights) for folder in (one, other))
        return left.with_head_of(right), right.with_head_of(left)

    @classmethod
    def opened(cls, stack: contextlib.ExitStack, files: Sequence[Path]) -> _Weights:
        readers = [stack.enter_context(safe_open(str(file), framework="pt")) for file in files]
        named = [(name, reader) for reader in readers for name in reader.keys()]  # noqa: SIM118 - not a mapping
        # Masks of old checkpoints are no weights, and a model that is saved again does not have them.
        return cls(
            {name: one for name, one in named if not is_left_over(name, one.get_slice(name).get_shape())},
            {},
        )

    def with_head_of(self, other: _Weights) -> _Weights:
        """Names the embeddings as the head too, where another model has one of its own and this one does not."""
        heads = [name for name in other.places if _HEAD.search(name) and name.endswith("weight")]
        shared = [name for name in self.places if _EMBEDS.search(name) and name in other.places]
        if len(heads) != 1 or heads[0] in self.places or any(map(_HEAD.search, self.places)) or len(shared) != 1:
            return self
        return _Weights({**self.places, heads[0]: self.places[shared[0]]}, {**self.names, heads[0]: shared[0]})

    def tensor(self, name: str) -> Tensor:
        found: Tensor = self.places[name].get_tensor(self.names.get(name, name))  # type: ignore[no-untyped-call]
        return found


class _Sum(NamedTuple):
    """Counts and squared norms of a part so far."""

    weights: int
    changed: int
    difference: float
    original: float

    def plus(self, left: Tensor, right: Tensor) -> _Sum:
        # In the coarser of two dtypes: saving in bfloat16 moves every weight and changes nothing.
        coarser = min(left.dtype, right.dtype, key=lambda dtype: torch.finfo(dtype).bits)
        one, other = left.to(coarser), right.to(coarser)
        return _Sum(
            self.weights + one.numel(),
            self.changed + int((one != other).sum()),
            self.difference + float((other.double() - one.double()).square().sum()),
            self.original + float(one.double().square().sum()),
        )

    def change(self, part: str) -> PartChange:
        relative = (self.difference / self.original) ** 0.5 if self.original else float(self.difference > 0)
        return PartChange(part, self.weights, self.changed, relative)


def _part(name: str) -> str:
    block = _LAYER.search(name)
    if block is not None:
        return block.group(1)
    return EMBEDDINGS if _EMBEDS.search(name) and not _HEAD.search(name) else OUTPUT


def _order(part: str) -> tuple[int, int]:
    if part.isdigit():
        return 1, int(part)
    return (0, 0) if part == EMBEDDINGS else (2, 0)
