"""What a published learning rate and number of epochs become for another model and another forget set.

Under Adam, a hidden layer's learning rate with the same effect is proportional to 1 / width: Yang et al., Tensor
Programs V, 2022, https://arxiv.org/abs/2203.03466. ``docs/results.md`` has what the rules give on small models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from expunge.methods.preset import Preset, Training

ADAPTED = ("learning_rate", "epochs")  # settings of the loop that the rules decide unless the user sets them


def rate_for(width: int, rate: float, published_width: int) -> float:
    """Returns the learning rate of AdamW for a model.

    Args:
        width: hidden size of the model.
        rate: published learning rate.
        published_width: hidden size of the model that it was published for.
    """
    return rate * published_width / width


def epochs_for(steps: int, records: int, batch_size: int, least: float) -> float:
    """Returns the epochs after which a run over ``records`` records has taken ``steps`` optimizer steps, or ``least``.

    A forget set of one batch takes one step an epoch: with the epochs of a larger set the run would end before the
    retain term has repaired what the forget term broke.
    """
    return max(least, steps / -(-records // batch_size))


def least_steps(preset: Preset) -> int | None:
    """Returns the optimizer steps of the published run; None where the rule leaves the epochs as published."""
    source, own = preset.published, preset.training
    if source is None or source.records is None:
        return None
    return round(own.epochs * -(-source.records // own.batch_size))


def rules_of(preset: Preset) -> dict[str, str]:
    """Returns the rules of a preset in words, by setting; empty for one whose numbers every model gets as they are."""
    if preset.published is None:
        return {}
    own, steps = preset.training, least_steps(preset)
    rate = f"{own.learning_rate:.3g} x {preset.published.width} / hidden size of the model, under AdamW"
    more = "" if steps is None else f", and more where these are fewer than {steps} steps"
    return {"learning_rate": rate, "epochs": f"{own.epochs:.3g}{more}"}


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """Learning rate and epochs by the rules, for one model and one forget set.

    Attributes:
        width: hidden size of the model.
        records: records of the first view.
        learning_rate: by the rule.
        epochs: by the rule.
        steps: fewest optimizer steps by the rule; None where the rule leaves the epochs as published.
        published_width: hidden size of the model that the preset was published for.
        published_learning_rate: the preset's.
        published_epochs: the preset's.
        given: names among ``ADAPTED`` that the user has set; the run has the user's values for these.
    """

    width: int
    records: int
    learning_rate: float
    epochs: float
    steps: int | None
    published_width: int
    published_learning_rate: float
    published_epochs: float
    given: tuple[str, ...] = ()

    def reasons(self, training: Training) -> dict[str, str]:
        """Returns, for each of ``ADAPTED``, its value in ``training`` and where the value comes from."""
        return {
            "learning_rate": f"{training.learning_rate:.3g}: {'; '.join(self._rate_reasons())}",
            "epochs": f"{training.epochs:.3g}: {'; '.join(self._epochs_reasons())}",
        }

    @property
    def rate_rule(self) -> str:
        """The rule of the learning rate with this model's numbers."""
        rate = f"{self.published_learning_rate:.3g}"
        return (
            f"{rate} x {self.published_width} / {self.width}, since {rate} is published for models of hidden size "
            f"{self.published_width} and this model's is {self.width}"
        )

    def _rate_reasons(self) -> Iterator[str]:
        if "learning_rate" in self.given:
            yield "as given"
            yield f"the default would be {self.learning_rate:.3g} = {self.rate_rule}"
        else:
            yield self.rate_rule

    def _epochs_reasons(self) -> Iterator[str]:
        raised = self.steps is not None and self.epochs > self.published_epochs
        few = f"with {self.records} records, the published {self.published_epochs:.3g} would end before"
        rule = f"{few} {self.steps} steps" if raised else "as published"
        if "epochs" in self.given:
            yield "as given"
            yield f"the default would be {self.epochs:.3g}, {rule}"
        else:
            yield rule


def adapted(preset: Preset, training: Training, width: int, records: int, given: frozenset[str]) -> Adapted | None:
    """Applies the rules to a preset.

    Args:
        preset: the published numbers.
        training: numbers of the loop after the user's changes.
        width: hidden size of the model.
        records: records of the first view.
        given: names of settings that the user has set.

    Returns:
        None for a preset that does not say what its numbers were published for.
    """
    source = preset.published
    if source is None:
        return None
    own, steps = preset.training, least_steps(preset)
    epochs = own.epochs if steps is None else epochs_for(steps, records, training.batch_size, own.epochs)
    return Adapted(
        width=width,
        records=records,
        learning_rate=rate_for(width, own.learning_rate, source.width),
        epochs=epochs,
        steps=steps,
        published_width=source.width,
        published_learning_rate=own.learning_rate,
        published_epochs=own.epochs,
        given=tuple(name for name in ADAPTED if name in given),
    )
