"""Tiny mixtures whose experts are stacks of matrices."""

from __future__ import annotations

from typing import Any

from transformers import GptOssConfig, MixtralConfig, PhimoeConfig, PretrainedConfig, Qwen2MoeConfig, Qwen3MoeConfig

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
KINDS: dict[str, tuple[type[PretrainedConfig], dict[str, Any]]] = {
    "mixtral": (MixtralConfig, {"num_local_experts": 4}),
    "qwen3_moe": (Qwen3MoeConfig, {"num_experts": 4, "moe_intermediate_size": 16, "head_dim": 8}),
    # Beside the stack an expert of linear layers, whose gate has a single row.
    "qwen2_moe": (
        Qwen2MoeConfig,
        {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    ),
    "gpt_oss": (GptOssConfig, {"num_local_experts": 4, "head_dim": 8}),  # stacks of (inputs, outputs)
    "phimoe": (PhimoeConfig, {"num_local_experts": 4}),  # a router that inherits from a linear layer
}


def expert_config(kind: str, **ids: Any) -> PretrainedConfig:
    """A mixture of four experts in each of two layers, two of which every token meets."""
    config, own = KINDS[kind]
    return config(**SIZES, num_experts_per_tok=2, **own, **ids)
