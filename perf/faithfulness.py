"""How well each metric tells models that know the forget set from models that never saw it.

Run: python perf/faithfulness.py FOLDER [COUNT]. Trains what is missing of 3 x COUNT very small models below FOLDER (20
by default), prints every metric's area with its lower bound, and writes what ``expunge show`` tells of a metric.
"""

from __future__ import annotations

import sys
from pathlib import Path

import expunge.metrics.faithfulness as metrics
from expunge.storage.plain import to_json
from expunge.workflows.faithfulness import as_plain, pools, separations


def main(folder: Path, count: int) -> None:
    """Measures, prints and writes."""
    worlds = pools(folder, count)
    found = separations(worlds, "full")
    for one in sorted(found, key=lambda one: one.area):
        print(f"{one.area:.3f}  at least {one.low:.3f}  {'' if one.fit else 'unfit  '}{one.label}")
    file = Path(metrics.__file__).with_name(metrics.FILE)
    file.write_text(to_json(as_plain(found, count), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20)
