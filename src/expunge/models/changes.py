"""What differs between two model folders, read tensor by tensor from their safetensors files."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open
from torch import Tensor

from expunge.models.folder import check_folder

EMBEDDINGS, OUTPUT = "embeddings", "output"
_LAYER = re.compile(r"\.(\d+)\.")  # the first number in a name is that of its block
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out)\.")  # the layer that makes logits, where it has weights of its own
_EMBEDS = re.compile(r"(embed|wte|wpe)")


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
    """Every part of a model, from the embeddings to the output."""

    parts: tuple[PartChange, ...]
    tied: bool

    @property
    def share(self) -> float:
        """Share of all weights that have another value."""
        return sum(part.changed for part in self.parts) / max(1, sum(part.weights for part in self.parts))

    @property
    def shallow(self) -> bool:
        """Whether something changed, and nothing below the last of several blocks.

        Embeddings that are the output's weights too count as output.
        """
        blocks = [part for part in self.parts if part.part not in (EMBEDDINGS, OUTPUT)]
        inputs = [part for part in self.parts if part.part == EMBEDDINGS and not self.tied]
        below = any(part.changed for part in (*inputs, *blocks[:-1]))
        return len(blocks) > 1 and self.share > 0 and not below


def changes(original: Path, candidate: Path) -> Changes | None:
    """Compares two checked model folders; None where they do not have the same tensors in the same shapes.

    Two tensors are in memory at a time.
    """
    before, after = check_folder(original), check_folder(candidate)
    with contextlib.ExitStack() as stack:
        old, new = (_Weights.opened(stack, folder.weights) for folder in (before, after))
        if set(old.places) != set(new.places):
            return None
        sums: dict[str, _Sum] = {}
        for name in old.places:
            left, right = old.tensor(name), new.tensor(name)
            if left.shape != right.shape:
                return None
            part = _part(name)
            sums[part] = sums.get(part, _Sum(0, 0, 0.0, 0.0)).plus(left, right)
    tied = not any(_HEAD.search(name) for name in old.places)
    return Changes(tuple(sums[part].change(part) for part in sorted(sums, key=_order)), tied)


class _Weights(NamedTuple):
    """Where each tensor of a folder lies."""

    places: dict[str, safe_open]

    @classmethod
    def opened(cls, stack: contextlib.ExitStack, files: Sequence[Path]) -> _Weights:
        readers = [stack.enter_context(safe_open(str(file), framework="pt")) for file in files]
        return cls({name: reader for reader in readers for name in reader.keys()})  # noqa: SIM118 - not a mapping

    def tensor(self, name: str) -> Tensor:
        found: Tensor = self.places[name].get_tensor(name)  # type: ignore[no-untyped-call]
        return found


class _Sum(NamedTuple):
    """Counts and squared norms of a part so far."""

    weights: int
    changed: int
    difference: float
    original: float

    def plus(self, left: Tensor, right: Tensor) -> _Sum:
        delta = right.double() - left.double()
        return _Sum(
            self.weights + left.numel(),
            self.changed + int((left != right).sum()),
            self.difference + float(delta.square().sum()),
            self.original + float(left.double().square().sum()),
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
