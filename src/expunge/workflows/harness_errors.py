"""How failures of lm_eval and of a user's task files are told: by type and task, never by their text.

Their text, and their traceback, may show documents.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator

from expunge.errors import ExpungeError, InputError, ResourceError, is_out_of_memory
from expunge.workflows.harness_cache import is_local

# Packages that fetch and read data sets; what they raise is about the data set.
FETCHING = ("datasets", "huggingface_hub", "requests", "httpx", "httpcore", "urllib3", "aiohttp", "fsspec")


@contextlib.contextmanager
def refused(name: str, explain: Callable[[str, Exception], str]) -> Iterator[None]:
    """Turns whatever a task raises into an error of ours.

    Args:
        name: of the task.
        explain: writes the message of an InputError.

    Raises:
        InputError: lm_eval, a library below it, or a function of the task file failed.
        ResourceError: memory ran out.
    """
    try:
        yield
    except ExpungeError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise ResourceError(
                f"Memory ran out in lm_eval's task {name!r}; leave it out, or use a machine with more."
            ) from None
        raise InputError(explain(name, error)) from None


def not_loaded(name: str, error: Exception) -> str:
    """Says which data set is missing, where that was the reason."""
    kind = type(error).__name__
    path = _data_set(error) if _is_of_data_set(error) else None
    if path is None:
        return (
            f"The task {name!r} of lm_eval cannot be loaded: its task file, or a function that it names, raised "
            f"{kind}. lm_eval's own command says more: lm_eval validate --tasks {name}"
        )
    if is_local(path):
        return (
            f"lm_eval's task {name!r} cannot read its own data, with dataset_path {path!r} ({kind}); see which files "
            "its task file names, and whether they can be read so."
        )
    return (
        f"lm_eval's task {name!r} needs the data set {path!r} of the Hugging Face Hub, which cannot be had "
        f"({kind}). Let this machine connect (HF_HUB_OFFLINE unset), or put the data set into the cache of a "
        f"machine that can and bring it here, or leave the task out."
    )


def not_read(name: str, error: Exception) -> str:
    """Says that documents could not be made."""
    return (
        f"The documents of lm_eval's task {name!r} cannot be read: a function of its task file raised "
        f"{type(error).__name__}."
    )


def not_evaluated(name: str, error: Exception) -> str:
    """Says that a model could not be asked."""
    return (
        f"lm_eval stopped in the task {name!r} ({type(error).__name__}); its prompts may be longer than the model can "
        "read, or a function of its task file failed. Its own command says more: lm_eval --model hf --tasks ..."
    )


def _data_set(error: Exception) -> str | None:
    """The data set that a task was about to read."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        path = getattr(frame.f_locals.get("self"), "DATASET_PATH", None)
        if isinstance(path, str):
            return path
    return None


def _is_of_data_set(error: BaseException) -> bool:
    roots = {cls.__module__.partition(".")[0] for cls in type(error).__mro__}
    return bool(roots & set(FETCHING)) or isinstance(error, (ConnectionError, TimeoutError))
