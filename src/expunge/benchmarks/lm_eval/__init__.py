"""Our benchmarks as task files of lm_eval, for an audit (``--lm-eval``) and for the ``lm_eval`` command.

Records are made when a task is loaded; no data lies here. The command needs the folder and, where a benchmark has no
default, its settings::

    lm_eval --model hf --model_args pretrained=MODEL --tasks expunge_tofu --metadata '{"tofu": {"folder": "DIR"}}' \
        --include_path "$(python -c 'from expunge.benchmarks.lm_eval import FOLDER; print(FOLDER)')"
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def task_files() -> dict[str, Path]:
    """File of each task and group that ships, by its name, sorted; a file is named like its task."""
    return {path.stem: path for path in sorted(FOLDER.rglob("*.yaml"), key=lambda path: path.stem)}


def benchmark_groups() -> list[str]:
    """Names of the groups that hold all tasks of one benchmark."""
    return [name for name, path in task_files().items() if name == f"expunge_{path.parent.name}"]
