"""Task-vector negation. Ilharco et al., "Editing Models with Task Arithmetic", 2022, https://arxiv.org/abs/2212.04089."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from expunge.errors import InputError
from expunge.methods.base import EditMethod, EditTask, HelperSpec, Spec
from expunge.registry import methods


@methods.register("task_vector")
@dataclass(frozen=True, kw_only=True)
class TaskVector(EditMethod):
    """Subtracts what further training on the forget set would add: original - scale * (reinforced - original)."""

    spec: ClassVar[Spec] = Spec(
        paper="Ilharco et al., 2022, https://arxiv.org/abs/2212.04089",
    )

    scale: float = 1.0  # 0 is the identity
    reinforce_epochs: float = 10.0  # passes over the forget set that make the reinforced model
    reinforce_learning_rate: float = 1e-5

    def helpers(self) -> tuple[HelperSpec, ...]:
        """The reinforced model: the original trained further on the forget set."""
        return (
            HelperSpec(
                name="reinforced",
                trained_on="forget",
                epochs=self.reinforce_epochs,
                learning_rate=self.reinforce_learning_rate,
            ),
        )

    @torch.no_grad()
    def edit(self, model: Any, task: EditTask) -> None:
        """Subtracts the scaled task vector from every floating-point weight; tied weights change once."""
        reinforced = task.helpers["reinforced"]
        for name, weight in model.named_parameters():
            if name not in reinforced or reinforced[name].shape != weight.shape:
                raise InputError(
                    f"The reinforced model has no weight like {name!r}; it must have the original's layout."
                )
            vector = reinforced[name].to(weight) - weight
            weight.sub_(self.scale * vector)
