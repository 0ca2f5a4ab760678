"""Where the forget gradient is taken: at the weights, or where an adversary would have moved weights or activations."""

from __future__ import annotations

from dataclasses import dataclass

from expunge.registry import perturbations


class Perturbation:
    """Base of the perturbations."""


@perturbations.register("none")
@dataclass(frozen=True, kw_only=True)
class NoPerturbation(Perturbation):
    """At the weights as they are."""
