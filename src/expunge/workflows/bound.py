"""Binds a run to the models that it was made with, so that it never goes on with other weights."""

from __future__ import annotations

from collections.abc import Mapping

from expunge.errors import VerificationError
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder
from expunge.workflows.identity import model_digest

KIND = "models"  # of the event that binds a run
NAMES = {"model": "model to unlearn", "base": "--base model"}


def bind_models(run: RunFolder, sources: Mapping[str, str | None]) -> dict[str, str]:
    """Logs the digests of a run's models, or refuses to go on with others.

    A run of an older version is bound when it is first called again.

    Args:
        run: the run, locked.
        sources: folder or Hub id of each model by its name in the settings; None for one that the run does not read.

    Returns:
        The digest of each model that the run reads, by name.

    Raises:
        VerificationError: a model was changed or replaced since the run was made.
    """
    found = {name: model_digest(source) for name, source in sources.items() if source is not None}
    earlier = [event.data["digests"] for event in read_events(run.events_path) if event.kind == KIND]
    if not earlier:
        run.events.append(KIND, digests=found)
        return found
    for name, digest in found.items():
        if digest != earlier[0].get(name, digest):
            raise VerificationError(
                f"The {NAMES[name]} {sources[name]} is not the one that the run in {run.root} was made with: its files "
                "were changed or replaced since. Put the earlier model back to go on with this run, or choose another "
                "--out to start a new one."
            )
    return found
