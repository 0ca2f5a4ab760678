"""What to unlearn, from what, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expunge.config import Choice
from expunge.data.checks import check_overlaps, check_splits
from expunge.data.templates import DEFAULT, Rendering
from expunge.evaluation.verdict.policy import VerdictPolicy
from expunge.methods.recipe import Recipe, resolve
from expunge.registry import suites
from expunge.workflows.forms import FormChoice
from expunge.workflows.inputs import SELF, Inputs, check_models, read_inputs
from expunge.workflows.places import refuse_model_folder
from expunge.workflows.rendering import check_written
from expunge.workflows.saving import check_dtype
from expunge.workflows.weights import check_recipe, for_model


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to unlearn, from what, and how.

    Attributes:
        model: folder or Hub id of the model that knows the records.
        out: the run folder.
        forget: file of the records to forget.
        benchmark: where all splits come from for which no file is given.
        retain: file of records to keep, ``"self"`` for text that the model writes itself, or None.
        holdout: file of records of the same kind that no model has seen, for membership inference.
        base: the model as it was before it saw the records, for exact methods.
        retrained: models trained without the records, to compare with.
        method: registry name.
        settings: changes to the method's settings, numbers of the loop and axes.
        evaluation: further splits by name, for the audit (such as world_facts) or for the method (such as general).
        suite: metrics of the audit.
        forms: further forms of the forget records for the audit: ``auto``, ``none``, or names with commas.
        paraphraser: model folder, Hub id or address that gives other wordings where there are none.
        allow_remote: whether records may be sent to an address.
        dtype: of the saved weights: float32, bfloat16 or float16; None for the dtype of the model.
        audit: whether to audit at all.
        policy: what the result is held to, fixed with the run; None for the default thresholds.
        max_length: longest record, tokens.
        columns: column of each field whose column in the files has another name, such as ``{"answer": "response"}``.
        rendering: how records are written: template, system prompt, date, thinking.
        allow_rejected: leave out records to forget that cannot be read, instead of refusing their file.
        allow_overlap: go on although records are in two sets; the report says how many.
        keep_helpers: keep checkpoints and helper models, whose weights hold the forget set.
        family: folder whose key the run shares with its siblings in it; what a sibling stored of a model that both
            read is taken from there.
    """

    model: str
    out: Path
    forget: Path | None = None
    benchmark: Choice | None = None
    retain: Path | str | None = None
    holdout: Path | None = None
    base: str | None = None
    retrained: tuple[str, ...] = ()
    method: str = "npo"
    settings: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Path] = field(default_factory=dict)
    suite: str = "quick"
    forms: str = "auto"
    paraphraser: str | None = None
    allow_remote: bool = False
    dtype: str | None = None
    audit: bool = True
    policy: VerdictPolicy | None = None
    max_length: int = 512
    columns: Mapping[str, str] = field(default_factory=dict)
    rendering: Rendering = DEFAULT
    allow_rejected: bool = False
    allow_overlap: bool = False
    keep_helpers: bool = False
    family: Path | None = None

    @property
    def siblings(self) -> tuple[Path, ...]:
        """``scores/`` of the other runs of the family."""
        found = () if self.family is None else sorted(self.out.parent.glob("*/scores"))
        return tuple(folder for folder in found if folder.parent != self.out)

    @property
    def retain_file(self) -> Path | None:
        """The retain file, if a file was given."""
        return Path(self.retain) if self.retain is not None and str(self.retain) != SELF else None

    @property
    def form_choice(self) -> FormChoice:
        """What the audit adds to the forget records."""
        return FormChoice(names=self.forms, paraphraser=self.paraphraser, allow_remote=self.allow_remote)

    def read(self, *, check_model: bool = True) -> tuple[Recipe, Inputs]:
        """Resolves the method and reads the records, and refuses what cannot be run before any model is loaded.

        Args:
            check_model: read the model folders' layout too, adapt the recipe to the model, look for the paraphraser.

        Raises:
            InputError: a record, a setting or a need that is wrong or missing.
        """
        refuse_model_folder(self.out, (self.model, self.base, *self.retrained, self.paraphraser))
        self.form_choice.check(fetch=check_model)
        recipe = resolve(self.method, self.settings)
        recipe.create_axes()
        check_dtype(self.dtype, recipe)
        suites.get(self.suite)
        files = {"forget": self.forget, "retain": self.retain_file, "holdout": self.holdout}
        read = read_inputs(
            files, self.evaluation, self.benchmark, columns=self.columns, allow_rejected=self.allow_rejected
        )
        inputs = read.with_needs(recipe.needs())
        supplied = {"base": self.base is not None, "retain": self.retain == SELF}
        recipe.check(inputs.available | {need for need, there in supplied.items() if there})
        kept = [] if self.retain == SELF else inputs.training.get("retain", [])
        forget, trained = inputs.training.get("forget", []), set(recipe.needs()) - {"forget", "retain", "holdout"}
        for name, records in (("retain", kept), *((name, inputs.training.get(name, [])) for name in sorted(trained))):
            check_splits(forget, records, allow_overlap=self.allow_overlap, name=name)
        check_overlaps(inputs.audited, allow_overlap=self.allow_overlap)
        if check_model:
            check_models(self.model, self.base, *self.retrained)
            for source in filter(None, (self.model, self.base, *self.retrained)):
                check_written(source, self.rendering, inputs.audited)
            check_recipe(recipe, self.model)
            recipe = for_model(recipe, self.model, inputs.training)
        return recipe, inputs
