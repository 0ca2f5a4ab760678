"""A finished run, read as a recipe: the same benchmark, method and settings for another model with another seed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from expunge.benchmarks.fictional import Fictional
from expunge.config import Choice, to_plain
from expunge.errors import InputError
from expunge.methods.adapt import ADAPTED
from expunge.methods.base import ExactMethod, LossMethod
from expunge.methods.recipe import Recipe, preset_of, resolve
from expunge.models.load import local_folder
from expunge.registry import benchmarks
from expunge.storage import atomic
from expunge.storage.digests import DataKey
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder
from expunge.training.step import view_specs
from expunge.workflows.columns import stored_policy
from expunge.workflows.inputs import SELF, data_summary, model_is_saved
from expunge.workflows.rendering import kept_rendering
from expunge.workflows.request import Request
from expunge.workflows.run_config import recipe_config

ELSEWHERE = (
    "Train shadow models elsewhere, with other seeds, and hand them in: expunge audit RUN --shadow-unlearned MODEL ... "
    "--shadow-retrained MODEL ..."
)
_MINUTE = 60


class Repeatable(NamedTuple):
    """A run that can be made again with other seeds.

    Attributes:
        run: its folder.
        choice: the benchmark with its settings.
        benchmark: the same, built.
        changes: what its recipe changes of the method's preset.
    """

    run: RunFolder
    choice: Choice
    benchmark: Fictional
    changes: Mapping[str, Any]

    @property
    def recipe(self) -> Recipe:
        """Method, axes and numbers of the loop."""
        return resolve(self.run.config["method"], self.changes)

    @property
    def steps(self) -> int:
        """Optimizer steps that the run's own unlearning took; 0 for a method without a loop."""
        return int(self._saved.get("steps", 0))

    @property
    def _saved(self) -> Mapping[str, Any]:
        return next((event.data for event in read_events(self.run.events_path) if event.kind == "saved"), {})

    def request(self, model: str, out: Path, number: int, *, allow_overlap: bool = False) -> Request:
        """Returns the same unlearning of another model, with the run's seed plus ``number``, without an audit.

        It reads the benchmark's own records, so that it needs no columns even where the run was made on files.
        """
        settings = self.run.config
        recipe = self.recipe
        takes = recipe.method.takes
        seed = {"seed": recipe.training.seed + number} if takes is None or "seed" in takes else {}
        return Request(
            model=model,
            out=out,
            benchmark=self.choice,
            retain=SELF if settings.get("retain") == SELF else None,
            method=settings["method"],
            settings={**self.changes, **seed},
            dtype=settings.get("dtype"),
            max_length=settings["max_length"],
            rendering=kept_rendering(self.run, None),
            audit=False,
            allow_overlap=allow_overlap,
        )

    def cost(self, trained: int, unlearned: int, workers: int | None) -> str:
        """Returns the time that so many trainings and unlearnings take, by what the run's own unlearning took.

        A training is counted by its records, at the seconds that a record took there.
        """
        seconds, steps = float(self._saved.get("seconds", 0.0)), self.steps
        recipe = self.recipe
        if not steps or not isinstance(recipe.method, LossMethod):
            return ""
        views = len(view_specs(recipe.method, recipe.retain_term))
        for_a_record = seconds / (steps * recipe.training.batch_size * views)
        training = for_a_record * len(self.benchmark.training()) * self.benchmark.recipe.epochs
        at_once = min(workers or os.cpu_count() or 1, trained)
        minutes = (trained * training + unlearned * seconds) / at_once / _MINUTE
        return f", about {max(minutes, 0.1):.1f} minutes by the run's own speed"


def read_run(folder: Path, benchmark: Choice | None = None) -> Repeatable:
    """Reads the recipe of a run.

    Args:
        folder: of a run that ``expunge unlearn`` finished.
        benchmark: where its records come from, if the run was made on files of them.

    Raises:
        InputError: no finished run, or one whose models cannot be trained from its benchmark.
    """
    run = RunFolder.open(folder)
    settings = run.config
    if settings.get("verb") != "unlearn":
        where = f" Name one of its runs, in {folder / 'runs'}." if settings.get("verb") == "bench" else ""
        raise InputError(f"{folder} was not made by expunge unlearn, so there is no recipe to repeat.{where}")
    if stored_policy(run) is not None:
        raise InputError(f"{folder} has a policy before unchanged weights; there is nothing to compare shadows with.")
    if not model_is_saved(run):
        raise InputError(f"{folder} has no finished model (the run is {run.state}); finish it first.")
    choice, built = _benchmark(run, benchmark)
    _check_records(run, built)
    _check_shape(run, built)
    return Repeatable(run, choice, built, _changes(settings))


def _benchmark(run: RunFolder, named: Choice | None) -> tuple[Choice, Fictional]:
    stored = run.config.get("benchmark")
    if stored is None and named is None:
        raise InputError(
            f"{run.root} was made on files, whose models cannot be trained here. {ELSEWHERE} If a benchmark wrote the "
            "files and trained the model, name it with --benchmark."
        )
    choice = Choice.parse(stored) if stored else named
    if choice is None or (named is not None and named != choice):
        raise InputError(f"{run.root} was made on another benchmark than --benchmark names; leave it out.")
    built = choice.create(benchmarks)
    if not isinstance(built, Fictional):
        raise InputError(f"The benchmark {choice.name!r} trains no models of its own. {ELSEWHERE}")
    return choice, built


def _check_records(run: RunFolder, benchmark: Fictional) -> None:
    """Files may have taken the place of the benchmark's splits."""
    events = read_events(run.events_path)
    logged: Mapping[str, Any] = next((event.data["data"] for event in events if event.kind == "inputs"), {})
    summary = data_summary({**benchmark.sources(), **benchmark.splits()}, DataKey.load_or_create(run.root))
    strange = [name for name, data in logged.items() if summary.get(name, {}).get("hmac") != data["hmac"]]
    if strange:
        raise InputError(
            f"{run.root} was made on other records than the benchmark has ({', '.join(strange)}), whose models cannot "
            f"be trained here. {ELSEWHERE}"
        )


def _check_shape(run: RunFolder, benchmark: Fictional) -> None:
    """A model of another size was not trained by the benchmark; one of this size may still have another recipe."""
    made = atomic.read_json(local_folder(run.config["model"]) / "config.json")
    expected = {"hidden_size": benchmark.numbers.width, "num_hidden_layers": benchmark.numbers.layers}
    other = [name for name, size in expected.items() if made.get(name) != size]
    if other:
        raise InputError(
            f"The original of {run.root} is not a model that the benchmark trains ({', '.join(other)} differ). "
            f"{ELSEWHERE}"
        )


def _stage_changes(stage: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """As ``_changes`` of a stage; its seed is named only where it is not the run's, which it else takes over."""
    seed = stage["training"]["seed"]
    found = {key: value for key, value in _changes(stage).items() if key != "seed"}
    return found if seed == settings["training"]["seed"] else {**found, "seed": seed}


def _recorded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a run records of its recipe and its stages, without where the numbers came from."""
    found = {key: settings[key] for key in ("method", "settings", "axes", "training")}
    stages = [_recorded(stage) for stage in settings.get("before", ())]
    return {**found, "before": stages} if stages else found


def _changes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What sets the recorded recipe apart from the method's preset; a method refuses what it makes no use of."""
    name = settings["method"]
    preset = resolve(name)
    if isinstance(preset.method, ExactMethod):
        raise InputError(f"The method {name!r} is exact: its shadow models would be the retrained ones.")
    plain = recipe_config(preset)
    parts = ("settings", "axes", "training")
    changes = {key: value for part in parts for key, value in settings[part].items() if value != plain[part].get(key)}
    if preset_of(name).published is not None:  # given as they were, no rule adapts them anew
        changes |= {key: settings["training"][key] for key in ADAPTED}
    stages = {stage["method"]: _stage_changes(stage, settings) for stage in settings.get("before", ())}
    changes |= {"before": stages} if stages else {}
    if to_plain(recipe_config(resolve(name, changes))) != _recorded(settings):
        raise InputError(f"The method {name!r} is not what it was when this run was made; make the run again.")
    return changes
