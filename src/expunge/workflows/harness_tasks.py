"""Which tasks of lm_eval an audit runs, loaded with their documents before any model is.

Gao et al., "The language model evaluation harness", https://zenodo.org/records/12608602. Its prompts are its own: no
chat template is applied to other people's tasks, as by its default.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.metadata
import io
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from expunge.benchmarks.lm_eval import FOLDER, benchmark_groups
from expunge.benchmarks.lm_eval.documents import drop_records
from expunge.config import Choice, to_plain
from expunge.data.templates import DEFAULT, Rendering, chat_template, rendering_of
from expunge.data.tokenize import end_mark
from expunge.errors import InputError, MissingExtraError, UnknownNameError
from expunge.models.load import LoadedModel, local_folder
from expunge.models.tokenizer import load_tokenizer
from expunge.workflows.harness_cache import private_cache
from expunge.workflows.harness_errors import not_loaded, refused

SHOTS_SEED = 1234  # of the choice of shots: lm_eval's own default


@dataclass(frozen=True, kw_only=True)
class TaskChoice:
    """Which tasks to run.

    Attributes:
        names: tasks, groups and tags.
        folders: where further task files lie. Functions that they name are run.
        benchmark: settings of the benchmark behind our own tasks.
    """

    names: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    benchmark: Choice | None = None

    @classmethod
    def parse(cls, names: str | None, folders: Sequence[Path], benchmark: Choice | None = None) -> TaskChoice:
        """Reads names with commas between them.

        Raises:
            InputError: folders without names, a folder that is none, or a name that is empty or stands twice.
        """
        found = tuple(name.strip() for name in names.split(",")) if names is not None else ()
        if folders and not found:
            raise InputError("--lm-eval-tasks says where task files lie; --lm-eval TASKS says which of them to run.")
        if not all(found) or len(set(found)) < len(found):
            raise InputError("--lm-eval takes names of tasks with commas between them, each once.")
        for folder in folders:
            if not folder.is_dir():
                raise InputError(f"--lm-eval-tasks {folder}: there is no such folder.")
        return cls(names=found, folders=tuple(folders), benchmark=benchmark)

    def check(self) -> None:
        """Refuses tasks where lm_eval is not installed."""
        if self.names:
            require()


class Tasks(NamedTuple):
    """Tasks with their documents, before any model is read.

    Attributes:
        choice: which they are.
        loaded: by name, what lm_eval has loaded.
        tokenizer: writes the questions of our own tasks.
        version: of lm_eval.
        data_sets: version of the library ``datasets``, which reads what is not ours.
    """

    choice: TaskChoice
    loaded: Mapping[str, Any]
    tokenizer: Any
    version: str
    data_sets: str = ""

    def of(self, loaded: LoadedModel) -> Tasks:
        """These tasks, loaded again where a model has another chat template."""
        same = _template(loaded.tokenizer) == _template(self.tokenizer)
        return self if same else load_tasks(self.choice, loaded.source, rendering_of(self.tokenizer))


def require() -> str:
    """Returns the version of lm_eval.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import lm_eval.tasks  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"--lm-eval needs lm_eval, and {error.name or 'a part of it'} is not installed: "
            'pip install "expunge[lm-eval]"'
        ) from None
    return importlib.metadata.version("lm_eval")


def load_tasks(choice: TaskChoice, source: str, rendering: Rendering = DEFAULT) -> Tasks:
    """Loads tasks and their documents; no weights are read.

    Args:
        choice: which.
        source: folder or Hub id of a model, for its tokenizer.
        rendering: how the records of a benchmark are written.

    Raises:
        MissingExtraError: lm_eval is not installed.
        UnknownNameError: there is no such task.
        InputError: a task cannot be loaded, such as one whose data set is not at hand, or would run code of a model.
        ResourceError: memory ran out.
    """
    version = require()
    folder = local_folder(source)
    tokenizer = load_tokenizer(folder, rendering)
    try:
        with quietly(), private_cache():
            manager = _manager(choice, folder if _template(tokenizer) else None, rendering)
            _check_names(choice.names, manager)
            loaded = {name: _load(manager, name) for name in choice.names}
            for task in (one for found in loaded.values() for one in found["tasks"].values()):
                _end_replies(task, tokenizer)
    finally:
        drop_records()
    return Tasks(choice, loaded, tokenizer, version, importlib.metadata.version("datasets"))


def _manager(choice: TaskChoice, model: Path | None, rendering: Rendering) -> Any:
    """Index of the task files; lm_eval's own 14,000 take seconds to read, and only if they are asked for."""
    from lm_eval.tasks import TaskManager

    benchmark = choice.benchmark
    metadata = {} if benchmark is None else {benchmark.name: to_plain(benchmark.settings)}
    if model is not None:
        metadata |= {"pretrained": str(model), "rendering": to_plain(rendering)}
    paths = [str(FOLDER), *map(str, choice.folders)]
    found = TaskManager(include_path=paths, include_defaults=False, metadata=metadata)
    if set(choice.names) <= set(found.all_tasks):
        return found
    return TaskManager(include_path=paths, metadata=metadata)


def _check_names(names: Sequence[str], manager: Any) -> None:
    known = list(manager.all_tasks)
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise UnknownNameError(
                f"lm_eval has no task {name!r}.{hint} Folders with further ones are named by --lm-eval-tasks. "
                f"Ours: {', '.join(benchmark_groups())}, and their parts."
            )


def _load(manager: Any, name: str) -> Any:
    """Loads one task, group or tag, ready to be evaluated."""
    with refused(name, not_loaded):
        loaded = manager.load([name])
    for task in loaded["tasks"].values():
        if getattr(task, "UNSAFE_CODE", False) or getattr(task, "MULTIMODAL", False):
            raise InputError(
                f"lm_eval's task {task.task_name!r} runs code that the model writes, or shows it pictures; Expunge "
                "does neither. Leave it out."
            )
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=SHOTS_SEED)
    return loaded


def _end_replies(task: Any, tokenizer: Any) -> None:
    """Ends replies to our prompts where the template ends an answer; lm_eval knows only the tokenizer's end token."""
    mark = end_mark(tokenizer)
    if not mark.text or task.OUTPUT_TYPE != "generate_until" or task.get_config("custom_dataset") is None:
        return
    ends = {"eos_token_id": [*mark.ids, tokenizer.eos_token_id]} if mark.is_token else {"until": [mark.text]}
    task.set_config(key="generation_kwargs", value=ends, update=True)


def _template(tokenizer: Any) -> tuple[Any, ...]:
    """What decides how a tokenizer writes a question; empty without a chat template."""
    rendering = replace(rendering_of(tokenizer), end=None)
    template = chat_template(tokenizer)
    is_default = rendering == DEFAULT and not template
    return () if is_default else (template, tokenizer.bos_token, tokenizer.eos_token, rendering)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Drops what lm_eval prints and logs, and keeps it from starting processes for standard errors."""
    logger = logging.getLogger("lm_eval")
    level, processes = logger.level, os.environ.get("DISABLE_MULTIPROC")
    logger.setLevel(logging.CRITICAL)
    os.environ["DISABLE_MULTIPROC"] = "1"
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
        os.environ.pop("DISABLE_MULTIPROC") if processes is None else os.environ.update(DISABLE_MULTIPROC=processes)
