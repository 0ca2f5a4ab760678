"""Writes safetensors files; a full disk is said in words, as everywhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from expunge.errors import ResourceError
from expunge.storage.disk import disk_errors, too_large


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes one file, inside a folder that is put in place as a whole.

    Raises:
        ResourceError: the disk is full.
    """
    with tensor_errors(path.parent):
        save_file(dict(tensors), path)


@contextmanager
def tensor_errors(place: Path) -> Iterator[None]:
    """Turns what the safetensors library says of a full disk or a size limit into a ``ResourceError``."""
    try:
        with disk_errors(place):
            yield
    except SafetensorError as error:
        if any(sign in str(error) for sign in ("os error 27", "File too large")):
            raise too_large(place) from None
        if not any(sign in str(error) for sign in ("os error 28", "os error 122", "No space left")):
            raise
        raise ResourceError(
            f"The disk or quota that holds {place} was full before all weights were written. Free some space, then run "
            "the same command again."
        ) from None
