"""Several processes: DDP and FSDP2 come from ``accelerate`` and nowhere else."""

from __future__ import annotations

from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin

from expunge.models.modules import blocks

Strategy = Literal["ddp", "fsdp2"]


def accelerator(model: Any, strategy: Strategy = "ddp") -> Accelerator:
    """Returns an accelerator for the processes that ``accelerate launch`` or ``torchrun`` started, or for one.

    Args:
        model: the model to train; FSDP2 shards its decoder blocks one by one.
        strategy: ``ddp`` keeps a copy of the model in each process, ``fsdp2`` a share of it.
    """
    cpu = not torch.cuda.is_available()
    if strategy == "ddp":
        return Accelerator(cpu=cpu)
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=True,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=sorted({type(block).__name__ for block in blocks(model)}),
        cpu_ram_efficient_loading=False,
        state_dict_type="SHARDED_STATE_DICT",
    )
    return Accelerator(cpu=cpu, fsdp_plugin=plugin)
