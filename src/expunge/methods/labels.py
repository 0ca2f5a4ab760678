"""Fine-tuning on other labels: wrong tokens, wrong facts, masked values and noise. See ``expunge.methods.relabelled``.

Random and adversarial labels: Yao et al., 2024, "Machine Unlearning of Pre-trained Large Language Models",
https://arxiv.org/abs/2402.15159.
"""

from __future__ import annotations

from expunge.config import Choice
from expunge.methods.gradient_ascent import YAO, YAO_BATCH, YAO_SOURCE
from expunge.methods.preset import Axes, Preset
from expunge.registry import methods

OURS = "none of one paper: our own settings, not tuned"

methods.register("random_label")(
    Preset(
        method=Choice("idk"),
        axes=Axes(relabel=Choice("random_token")),
        training=YAO,
        source=YAO_SOURCE,
        departs=f"{YAO_BATCH} A drawn label is neither the true token nor a special one; the authors' may be.",
    )
)

methods.register("adversarial_label")(
    Preset(
        method=Choice("idk"),
        axes=Axes(relabel=Choice("top1_wrong")),
        training=YAO,
        source=YAO_SOURCE,
        departs=f"{YAO_BATCH} The true token is left out where it is predicted; the authors' code is off by one.",
    )
)

methods.register("counterfactual")(
    Preset(
        method=Choice("idk", {"answers": 5}),
        axes=Axes(retain_term=Choice("nll"), relabel=Choice("counterfactual")),
        source=f"{OURS}; wrong answers of the same form as in TOFU (Maini et al., 2024, https://arxiv.org/abs/2401.06121)",
        departs="Wrong answers share their wording with the true one, so none is dropped for being like it.",
    )
)

methods.register("masked_entities")(
    Preset(
        method=Choice("idk"),
        axes=Axes(retain_term=Choice("nll"), relabel=Choice("masked")),
        source=OURS,
        departs="Values are found by rule, not by a model that names entities.",
    )
)

methods.register("noise_text")(
    Preset(
        method=Choice("idk"),
        axes=Axes(retain_term=Choice("nll"), relabel=Choice("noisy_text", {"share": 0.5})),
        source=f"{OURS}; half of the words",
        departs="Noise gives no guarantee by itself.",
    )
)

methods.register("noise_labels")(
    Preset(
        method=Choice("idk"),
        axes=Axes(retain_term=Choice("nll"), relabel=Choice("random_token", {"share": 0.5})),
        source=f"{OURS}; half of the labels",
        departs="The other half keep the true label and are learnt. Noise gives no guarantee by itself.",
    )
)
