"""What is run: a preset after the user's changes, its stages one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from expunge.config import Choice, build, field_names
from expunge.errors import InputError, MissingNeedError, UnknownNameError
from expunge.methods.adapt import ADAPTED, Adapted, adapted
from expunge.methods.base import NEED_FLAGS, LossMethod, Method, ViewSpec
from expunge.methods.preset import Axes, Preset, Training
from expunge.methods.retain import RetainTerm
from expunge.models.modules import layers_among
from expunge.registry import (
    combiners,
    methods,
    optimizers,
    parameter_choices,
    penalties,
    perturbations,
    relabellers,
    retain_terms,
    stoppers,
    suggest,
    token_choices,
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A preset after the user's changes: what is run and recorded; ``before`` runs first.

    Attributes:
        name: of the preset.
        method: the loss, edit, exact or inference method.
        axes: exchangeable parts.
        training: numbers of the loop.
        before: recipes that run first.
        given: settings of the loop that the user has set; no rule changes them.
        adapted: learning rate and epochs by the rules, once model and forget set are known; None without a rule.
    """

    name: str
    method: Method
    axes: Axes
    training: Training
    before: tuple[Recipe, ...] = ()
    given: frozenset[str] = frozenset()
    adapted: Adapted | None = None

    @property
    def parts(self) -> tuple[Recipe, ...]:
        """Every stage by itself, in the order in which they run."""
        earlier = tuple(part for stage in self.before for part in stage.parts)
        return (*earlier, dataclasses.replace(self, before=()))

    @property
    def retain_term(self) -> RetainTerm:
        """The retain term's instance."""
        return self.axes.retain_term.create(retain_terms)  # type: ignore[no-any-return]

    def create_axes(self) -> None:
        """Builds every axis once, so that a setting that cannot be meant is refused before anything runs."""
        for stage in self.before:
            stage.create_axes()
        self.axes.retain_term.create(retain_terms)
        self.axes.relabel.create(relabellers)
        self.axes.tokens.create(token_choices)
        self.axes.combiner.create(combiners)
        self.axes.perturb.create(perturbations)
        self.axes.penalty.create(penalties)
        self.axes.parameters.create(parameter_choices)
        self.axes.optimizer.create(optimizers)
        self.axes.stopper.create(stoppers)
        if isinstance(self.method, LossMethod):
            self._check_sides(self.method)
            self._check_tokens(self.method)

    def _check_tokens(self, method: LossMethod) -> None:
        """Refuses a token choice that looks at true answers where the method reads none."""
        first, choice = method.views()[0].source, self.axes.tokens.create(token_choices)
        chosen = self.axes.tokens.name != "answer" and not choice.relabelled
        if chosen and all(view.relabel for view in method.views() if view.source == first):
            raise InputError(
                f"The token choice {self.axes.tokens.name} looks at the true answers, and {self.name!r} trains on "
                "others in their place; take answer, all or skip_first."
            )

    def _check_sides(self, method: LossMethod) -> None:
        """Refuses a combiner or a perturbation that works on a side which the loss does not have."""
        combiner, perturb = self.axes.combiner.create(combiners), self.axes.perturb.create(perturbations)
        forget = next((view for view in method.views() if view.name == "forget"), None)
        held = self.axes.retain_term.name != "none" or method.own_retain
        if combiner.two_sided and (forget is None or not held):
            lacks = "no forget side" if forget is None else "no retain term; choose one with --retain-term"
            raise InputError(f"The combiner {self.axes.combiner.name} weighs two sides, and {self.name!r} has {lacks}.")
        if self.axes.perturb.name != "none" and forget is None:
            raise InputError(f"The method {self.name!r} has no forget side to perturb; leave out --perturb.")
        if perturb.relearns and forget is not None and forget.relabel:
            raise InputError(
                f"The perturbation {self.axes.perturb.name} attacks by training on the forget answers, in whose place "
                f"{self.name!r} reads others; choose a method that reads the true ones, or another perturbation."
            )

    def adapted_to(self, width: int, records: Mapping[str, int]) -> Recipe:
        """Returns the recipe with learning rate and epochs for a model and a forget set, unless the user set them.

        Only losses under AdamW are adapted: the rule of the learning rate is one for Adam.

        Args:
            width: hidden size of the model.
            records: number of records by source.
        """
        stages = tuple(stage.adapted_to(width, records) for stage in self.before)
        found = None
        if isinstance(self.method, LossMethod) and self.axes.optimizer.name == "adamw":
            count = records.get(self.method.views()[0].source, 0)
            found = adapted(preset_of(self.name), self.training, width, count, self.given) if count else None
        if found is None:
            return dataclasses.replace(self, before=stages)
        changed = {name: getattr(found, name) for name in ADAPTED if name not in self.given}
        training = dataclasses.replace(self.training, **changed)
        return dataclasses.replace(self, before=stages, training=training, adapted=found)

    def reasons(self) -> dict[str, str]:
        """Returns learning rate and epochs of the last stage and where each comes from; empty without a loop."""
        if not isinstance(self.method, LossMethod):
            return {}
        if self.adapted is not None:
            return self.adapted.reasons(self.training)
        origin = {name: "as given" if name in self.given else "as published" for name in ADAPTED}
        return {name: f"{getattr(self.training, name):.3g}: {text}" for name, text in origin.items()}

    def probes(self) -> tuple[str, ...]:
        """Sources of the records that stopper and penalty read, whatever the views are."""
        stopper, penalty = self.axes.stopper.create(stoppers), self.axes.penalty.create(penalties)
        return tuple(dict.fromkeys((*stopper.sources, *penalty.sources)))

    def needs(self) -> tuple[str, ...]:
        """All that must be handed in, what retain term, relabeller, stopper and penalty read included."""
        needs = dict.fromkeys(need for stage in self.before for need in stage.needs())
        needs |= dict.fromkeys(self.method.needs())
        if isinstance(self.method, LossMethod):
            views = (*self.method.views(), *self.retain_term.views())
            needs |= dict.fromkeys((*(view.source for view in views), *self.probes()))
            if any(view.relabel for view in views):
                needs |= dict.fromkeys(self.axes.relabel.create(relabellers).needs)
        return tuple(needs)

    def memory_factor(self, share: float = 1.0) -> float:
        """Peak memory in copies of all weights, without activations and cached numbers.

        Args:
            share: number of weights that may change, in parts of all of the model's.
        """
        if not isinstance(self.method, LossMethod):
            return 1 + (self.method.spec.memory_factor - 1) * share
        axes = self.axes
        parts = (
            axes.optimizer.create(optimizers),
            axes.combiner.create(combiners),
            axes.perturb.create(perturbations),
            axes.penalty.create(penalties),
        )
        beside = axes.parameters.create(parameter_choices).own_reference  # what changes stands beside the weights
        changing = share * (1 + beside + sum(part.copies for part in parts))
        own = 1 + changing + self._has_frozen_reference()
        return float(max([own, *(stage.memory_factor(share) for stage in self.before)]))

    def _has_frozen_reference(self) -> bool:
        """Whether a second model is held; see ``expunge.training.references``."""
        if not isinstance(self.method, LossMethod) or self.axes.reference == "cached":
            return False
        own = self.axes.parameters.create(parameter_choices).own_reference and not self.before
        read = {what for view in (*self.method.views(), *self.retain_term.views()) for what in view.reference}
        always = self.axes.reference == "frozen"
        return bool(read) if always else bool(read & {"logits", "hidden"}) and not own

    def check_layers(self, count: int) -> None:
        """Refuses a recipe that reads layers only below those that may change: nothing it could change would matter.

        Args:
            count: number of layers of the model.

        Raises:
            InputError: names the layer that is read and the lowest one that changes; or a layer outside the model.
        """
        for stage in self.before:
            stage.check_layers(count)
        if not isinstance(self.method, LossMethod):
            return
        lowest = self.axes.parameters.create(parameter_choices).lowest_layer(count)
        for view in (*self.method.views(), *self.retain_term.views()):
            highest = count if view.logits or view.hidden is None else layers_among(count, view.hidden)[-1]
            if highest < lowest:
                raise InputError(
                    f"{self.name!r} reads the {view.name} records at layer {highest}, and the lowest layer that may "
                    f"change is {lowest} (of 0 to {count - 1}). What is above a layer does not change its output. Let "
                    f"a layer up to {highest} change (--layers), or read a higher one ({self._reading(view)})."
                )

    def _reading(self, view: ViewSpec) -> str:
        """The setting that says which layer a view reads, as a flag that can be typed."""
        if view.name not in {one.name for one in self.method.views()}:  # type: ignore[attr-defined]
            return "the setting layers of the retain term"
        return " or ".join(f"--set {name}=..." for name in field_names(type(self.method)) if name.startswith("layer"))

    def check(self, available: frozenset[str]) -> None:
        """Refuses, before a model is loaded, a recipe whose needs were not handed in.

        Raises:
            MissingNeedError: names what is missing and the flag that supplies it.
        """
        missing = [need for need in self.needs() if need not in available]
        if missing:
            flags = "; ".join(f"{need}: {NEED_FLAGS.get(need, f'--{need}')}" for need in missing)
            raise MissingNeedError(f"The method {self.name!r} needs what was not handed in. {flags}.")


def preset_of(name: str) -> Preset:
    """Returns the preset registered as ``name``; a bare method class is a preset with its own defaults."""
    registered = methods.get(name)
    return registered if isinstance(registered, Preset) else getattr(registered, "preset", Preset(method=Choice(name)))


def resolve(name: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Applies a user's changes to a preset.

    Args:
        name: registry name.
        changes: setting to value. A setting of the method (``beta``), of the loop (``learning_rate``) or an axis
            (``retain_term``, a name or ``{name, settings}``); each has one owner. Changes to a stage that runs before
            are given under ``before`` and its name: ``{before: {add_noise: {scale: 0.1}}}``.

    Raises:
        UnknownNameError: a setting that nobody has.
        InputError: a setting that this method makes no use of.
    """
    if not isinstance(changes or {}, Mapping):
        raise InputError(f"The settings of {name!r} are given by name, such as {{beta: 0.1}}, not {changes!r}.")
    preset = preset_of(name)
    cls = methods.get(preset.method.name)
    method = dict(preset.method.settings)
    training: dict[str, Any] = {}
    axes: dict[str, Any] = {}
    choices = {item.name for item in dataclasses.fields(Axes) if isinstance(getattr(preset.axes, item.name), Choice)}
    for key, value in (changes or {}).items():
        if key == "before":
            continue
        if key in field_names(cls):
            method[key] = value
        elif cls.takes is not None and key in (*field_names(Training), *field_names(Axes)) and key not in cls.takes:
            used = ", ".join(sorted({*field_names(cls), *cls.takes})) or "none"
            raise InputError(f"The method {name!r} makes no use of {key!r}, so it is not set; its settings: {used}.")
        elif key in field_names(Training):
            training[key] = value
        elif key in field_names(Axes):
            axes[key] = Choice.parse(value) if key in choices else value
        else:
            known = [*field_names(cls), *field_names(Training), *field_names(Axes)]
            raise UnknownNameError(f"The method {name!r} has no setting {key!r}.{suggest(key, known)}")
    where = f"method {name!r}"
    return Recipe(
        name=name,
        method=build(cls, method, where=where),
        axes=build(Axes, {**_shallow(preset.axes), **axes}, where=where),
        training=build(Training, {**_shallow(preset.training), **training}, where=where),
        before=_stages(name, preset, changes or {}),
        given=frozenset(training),
    )


def _stages(name: str, preset: Preset, given: Mapping[str, Any]) -> tuple[Recipe, ...]:
    """The stages before a method, with the user's changes by stage; their seed is the run's unless one is given."""
    changes = given.get("before", {})
    seed = {"seed": given["seed"]} if "seed" in given else {}
    known = [stage.name for stage in preset.before]
    if not isinstance(changes, Mapping):
        raise InputError(f"What changes before {name!r} is given by stage, such as {{add_noise: {{scale: 0.1}}}}.")
    for stage, its in changes.items():
        if stage not in known:
            raise UnknownNameError(f"Nothing called {stage!r} runs before {name!r}.{suggest(str(stage), known)}")
        if not isinstance(its, Mapping):
            raise InputError(f"The settings of {stage!r} are given by name, such as {{seed: 1}}, not {its!r}.")
    return tuple(
        resolve(stage.name, {**seed, **stage.settings, **changes.get(stage.name, {})}) for stage in preset.before
    )


def _shallow(settings: Any) -> dict[str, Any]:
    return {item.name: getattr(settings, item.name) for item in dataclasses.fields(settings)}
