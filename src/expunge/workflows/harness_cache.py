"""Keeps the rows of a user's own files out of the caches of ``datasets``, which lm_eval reads them with.

``datasets`` writes every row of a json, csv, text or parquet file below HF_HOME, in clear, and leaves it there. Here it
writes into a private folder that is deleted, and its tables stay in memory, where a ``map`` writes nothing either. Data
sets of the Hub keep their cache: it may be all that a machine without a network has.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FILE_KINDS = frozenset(  # builders of ``datasets`` that read files
    (
        *("json", "csv", "text", "parquet", "arrow", "pandas", "sql", "xml", "hdf5", "lance", "iceberg", "vortex"),
        *("webdataset", "imagefolder", "audiofolder", "videofolder", "pdffolder", "niftifolder", "meshfolder"),
        *("conll", "fasta", "fastq", "genbank", "mmcif", "pdb", "tsfile", "eval", "harbor", "cache", "generator"),
    )
)
PLACES = ("HF_DATASETS_CACHE", "DOWNLOADED_DATASETS_PATH", "EXTRACTED_DATASETS_PATH")
_MADE: list[Path] = []  # private folders of this process


@contextlib.contextmanager
def private_cache() -> Iterator[None]:
    """While this lasts, ``datasets`` keeps rows in memory, and what it writes before lies in a folder that goes away.

    Does nothing where ``datasets`` is not loaded. The environment variable HF_DATASETS_CACHE would come too late: it is
    read once, at import.
    """
    library: Any = sys.modules.get("datasets")
    if library is None:
        yield
        return
    config, plain = library.config, library.load_dataset
    before = {name: getattr(config, name) for name in (*PLACES, "IN_MEMORY_MAX_SIZE")}
    with tempfile.TemporaryDirectory(prefix="expunge-") as folder:
        try:
            for name in PLACES:
                setattr(config, name, Path(folder) / name.lower())
            config.IN_MEMORY_MAX_SIZE = float("inf")
            library.load_dataset = _sorting(plain, before["HF_DATASETS_CACHE"])
            yield
        finally:
            library.load_dataset = plain
            for name, value in before.items():
                setattr(config, name, value)
            _MADE.append(Path(folder))
            for place in _MADE:  # a data set goes on writing beside the rows that it was read to, long after they went
                shutil.rmtree(place, ignore_errors=True)


def _sorting(plain: Callable[..., Any], shared: Any) -> Callable[..., Any]:
    """Loads data sets of the Hub with their cache, and all others without."""

    @functools.wraps(plain)
    def load_dataset(path: str, *given: Any, **settings: Any) -> Any:
        if not is_local(path):
            return plain(path, *given, **{"cache_dir": str(shared), "keep_in_memory": False, **settings})
        # A folder of its own for each call: a module of the user's may keep this function for later.
        with tempfile.TemporaryDirectory(prefix="expunge-") as folder:
            in_memory = not settings.get("streaming")
            return plain(path, *given, **{**settings, "cache_dir": folder, "keep_in_memory": in_memory})

    return load_dataset


def is_local(path: str) -> bool:
    """Whether a data set is made of the user's files: its path is a kind of file, or a place on this machine."""
    return path in FILE_KINDS or Path(path).exists()
