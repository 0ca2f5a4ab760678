"""Several processes that begin at the same moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def at_once(script: str, arguments: list[str], count: int) -> list[str]:
    """Runs a script in ``count`` processes and returns what each printed.

    The script reads one line from its input once it has imported what it needs. Its last argument is its number.
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, *arguments, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number in range(count)
    ]
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    printed = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0] * count
    return printed
