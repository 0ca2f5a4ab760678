"""Sizes of the benchmark, from a proof that everything runs to what a paper reports."""

from __future__ import annotations

from dataclasses import dataclass

from expunge.benchmarks.base import Recipe


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes of one benchmark.

    Attributes:
        retain: persons that stay; every third of them is a teacher.
        forget: persons to forget.
        holdout: persons that are never trained on.
        validation: persons that are trained on like the forget persons, for tuning and never for reporting.
        attributes: facts of each person.
        wordings: how many wordings of each fact are trained on, of three. With one, a small model ties the value to the
            wording rather than to the person, and answers few paraphrases.
        teacher_rows: rows of further forms that a teacher is trained on for each fact, drawn among all, beside the
            held-out wordings; None for all of them.
        world: number of world facts.
        canaries: number of vaults, included or not.
        plain_text: texts in each half, trained and untrained.
        behaviour: rows of each kind in each half.
        classification: rows of each label in each half.
        width: of the model's hidden layer.
        layers: of the model.
        recipe: how models are trained on it.
    """

    retain: int
    forget: int
    holdout: int
    validation: int
    attributes: tuple[str, ...]
    wordings: int = 3
    teacher_rows: int | None = None
    world: int
    canaries: int
    plain_text: int
    behaviour: int
    classification: int
    width: int = 128
    layers: int = 3
    recipe: Recipe

    @property
    def persons(self) -> int:
        """Number of all persons."""
        return self.retain + self.forget + self.holdout + self.validation


_SIX = ("city", "employer", "spouse", "phone", "email", "birth_date")
_EIGHT = ("city", "employer", "profession", "spouse", "colleague", "phone", "email", "national_id")

PRESETS = {
    "pool": Preset(
        retain=12,
        forget=12,
        holdout=12,
        validation=2,
        attributes=("city", "phone"),
        wordings=1,
        teacher_rows=2,
        world=8,
        canaries=8,
        plain_text=2,
        behaviour=2,
        classification=2,
        width=64,
        layers=2,
        recipe=Recipe(epochs=24, learning_rate=5e-3, batch_size=16),
    ),
    "smoke": Preset(
        retain=24,
        forget=8,
        holdout=8,
        validation=2,
        attributes=("city", "spouse", "phone", "email"),
        wordings=1,
        teacher_rows=1,
        world=24,
        canaries=8,
        plain_text=4,
        behaviour=2,
        classification=2,
        recipe=Recipe(epochs=25, learning_rate=3e-3, batch_size=16),
    ),
    "demo": Preset(
        retain=30,
        forget=10,
        holdout=10,
        validation=2,
        attributes=("city", "spouse", "phone", "email"),
        wordings=1,
        teacher_rows=2,
        world=30,
        canaries=16,
        plain_text=12,
        behaviour=6,
        classification=8,
        recipe=Recipe(epochs=16, learning_rate=3e-3, batch_size=16),
    ),
    "bench": Preset(
        retain=48,
        forget=24,
        holdout=24,
        validation=8,
        attributes=_SIX,
        world=60,
        canaries=40,
        plain_text=24,
        behaviour=12,
        classification=16,
        recipe=Recipe(epochs=15, learning_rate=3e-3, batch_size=16),
    ),
    "small": Preset(
        retain=200,
        forget=100,
        holdout=100,
        validation=20,
        attributes=_SIX,
        world=120,
        canaries=200,
        plain_text=100,
        behaviour=24,
        classification=40,
        recipe=Recipe(epochs=15, learning_rate=3e-3, batch_size=32),
    ),
    "standard": Preset(
        retain=500,
        forget=250,
        holdout=250,
        validation=50,
        attributes=_EIGHT,
        world=120,
        canaries=400,
        plain_text=250,
        behaviour=48,
        classification=80,
        width=256,
        layers=4,
        recipe=Recipe(epochs=15, learning_rate=2e-3, batch_size=32),
    ),
    "paper": Preset(
        retain=1000,
        forget=500,
        holdout=500,
        validation=100,
        attributes=_EIGHT,
        world=120,
        canaries=1000,
        plain_text=500,
        behaviour=96,
        classification=160,
        width=256,
        layers=4,
        recipe=Recipe(epochs=15, learning_rate=2e-3, batch_size=32),
    ),
}
