"""Latent adversarial training around RMU. Sheshadri et al., 2024, https://arxiv.org/abs/2407.15549.

The adversary is the perturbation ``latent`` and goes around any loss: ``--method npo --perturb latent``.
"""

from __future__ import annotations

from expunge.config import Choice
from expunge.methods.preset import Axes, Preset, Training
from expunge.registry import methods

methods.register("lat")(
    Preset(
        method=Choice("rmu", {"layer": "0.2581"}),
        axes=Axes(
            retain_term=Choice("hidden", {"layers": "0.2581", "norm": "mse"}),
            retain_weight=1200.0,
            parameters=Choice("mlp_out", {"layers": "0.1936-0.2581"}),
            perturb=Choice("latent", {"layer": "0.2258"}),
        ),
        training=Training(
            learning_rate=5e-5,
            epochs=200,
            max_steps=200,
            batch_size=4,
            schedule="constant",
            warmup=0.0,
            weight_decay=0.0,
            max_grad_norm=0.0,
        ),
        source=(
            "the authors' code for RMU with LAT: RMU at layer 8 of 32 with c 6.5 and retain weight 1200, layers 6 to 8 "
            "trained, the adversary at layer 7 with 16 steps, learning rate 5e-5, 200 batches"
        ),
        departs=(
            "A new adversary for every step, where the code takes four steps of the model for one. The adversary's "
            "radius is a tenth of each token's norm; the code's is an absolute 2."
        ),
    )
)
