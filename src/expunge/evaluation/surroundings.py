"""What beside a model and its records decides numbers that are drawn, or the last bits of those that are read."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from expunge.models.load import default_device


def surroundings(batch_size: int) -> dict[str, Any]:
    """Returns what sampled replies hang on: the batches, the kind of device that models are loaded to, the libraries.

    Random numbers are handed out batch by batch, each kind of device has its own, and a library may use them in another
    order.

    Args:
        batch_size: sequences in one forward pass.
    """
    return {
        "batch_size": batch_size,
        "device": default_device().type,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
