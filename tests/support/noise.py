"""Copies of model folders whose weights are a little different."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file


def moved(source: str | Path, place: Path, by: float = 1e-6) -> str:
    """Copies a model folder and moves the first value of each tensor."""
    shutil.copytree(source, place)
    file = place / "model.safetensors"
    weights = load_file(file)
    for tensor in weights.values():
        tensor.view(-1)[0] += by
    save_file(weights, file, metadata={"format": "pt"})
    return str(place)
