"""Several processes: DDP and FSDP2 come from ``accelerate`` and nowhere else.

``accelerate launch`` and ``torchrun`` say by environment variables how many processes there are, and how a model is
spread over them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, FullyShardedDataParallelPlugin, broadcast_object_list
from torch.distributed.tensor import DTensor

from expunge.errors import InputError
from expunge.models.modules import blocks
from expunge.training.checkpoint import whole

Strategy = Literal["ddp", "fsdp2"]
# Said in words, since a launcher's environment may ask for others: the loop accumulates by itself, and references that
# were computed once must meet a model of the same precision.
PLAIN: dict[str, Any] = {"mixed_precision": "no", "gradient_accumulation_steps": 1}


def processes() -> int:
    """Number of processes of this launch."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Whether this process is the one that writes."""
    return int(os.environ.get("RANK", "0")) == 0


def meet() -> None:
    """Waits until every process of the launch is here."""
    if processes() > 1:
        PartialState(cpu=_on_cpu()).wait_for_everyone()


def shared(make: Callable[[], list[str]]) -> list[str]:
    """Returns what the leading process makes, in every process."""
    if processes() == 1:
        return make()
    PartialState(cpu=_on_cpu())
    box: list[Any] = [make() if leads() else None]
    broadcast_object_list(box)
    found: list[str] = box[0]
    return found


def launched_strategy() -> Strategy:
    """How the launcher wants the model spread.

    Raises:
        InputError: in a way that the loop does not know.
    """
    for name, what in (("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"), ("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM")):
        if os.environ.get(name, "false") == "true":
            raise InputError(f"The launch asks for {what}, which is not supported; launch with DDP or FSDP2.")
    if os.environ.get("ACCELERATE_USE_FSDP", "false") != "true":
        return "ddp"
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise InputError("The launch asks for FSDP version 1; pass --fsdp_version 2 to accelerate launch.")
    return "fsdp2"


def accelerator(model: Any, strategy: Strategy | None = None, *, partial: bool = False) -> Accelerator:
    """Returns an accelerator for the processes that ``accelerate launch`` or ``torchrun`` started, or for one.

    Args:
        model: the model to train; FSDP2 shards its decoder blocks one by one.
        strategy: ``ddp`` keeps a copy of the model in each process, ``fsdp2`` a share of it; None: what the launcher
            says.
        partial: whether a gradient may leave out trainable weights, as where layers above the last one read do not
            run: DDP else waits for all of them and fails. It costs DDP a walk through the graph.
    """
    # Also beside the plugin for FSDP2: without an accelerator device it falls back on DDP.
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)] if partial else None
    if (strategy or launched_strategy()) == "ddp":
        return Accelerator(cpu=_on_cpu(), kwargs_handlers=handlers, **PLAIN)
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=True,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=sorted({type(block).__name__ for block in blocks(model)}),
        cpu_ram_efficient_loading=False,
        state_dict_type="SHARDED_STATE_DICT",
    )
    return Accelerator(cpu=_on_cpu(), fsdp_plugin=plugin, kwargs_handlers=handlers, **PLAIN)


def is_sharded(model: Any) -> bool:
    """Whether this process holds a share of the model only."""
    return any(isinstance(weight, DTensor) for weight in model.parameters())


def gathered(model: Any, build: Callable[[], Any]) -> Any:
    """Returns the trained model in one piece; every process must call it.

    Args:
        model: after training.
        build: makes a model of the same architecture; called only where ``model`` is sharded.
    """
    if not is_sharded(model):
        return model
    weights: Mapping[str, torch.Tensor] = {name: whole(weight) for name, weight in model.named_parameters()}
    plain = build()
    with torch.no_grad():
        for name, weight in plain.named_parameters():
            weight.copy_(weights[name])
    return plain


def _on_cpu() -> bool:
    return not torch.cuda.is_available()
