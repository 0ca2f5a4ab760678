"""Metrics are asked which models know: on pools trained here, and on pools whose answers are known."""

from __future__ import annotations

import json

import pytest

from expunge.metrics.faithfulness import FIT, measured
from expunge.metrics.memorisation import Probability, TruthRatio
from expunge.metrics.perplexity import Perplexity
from expunge.workflows import faithfulness as workflow
from expunge.workflows.faithfulness import as_plain, pools, separations

NAN = float("nan")


class Known:
    """A world whose values are written down."""

    def __init__(self, values):
        self.found = values

    def values(self, suite):
        return self.found


def test_areas_by_hand_in_the_direction_of_each_metric():
    rising, falling, flat = Probability(), Perplexity(split="forget"), TruthRatio()
    worlds = [
        Known({rising: (0.9, 0.1), falling: (1.1, 9.0), flat: (NAN, 0.5)}),
        Known({rising: (0.4, 0.5), falling: (1.2, 8.0), flat: (NAN, 0.6)}),
    ]
    found = {one.label: one for one in separations(worlds, "quick")}
    assert found[rising.label].area == 0.75  # 0.4 is below 0.5
    assert not found[rising.label].fit
    assert found[falling.label].area == 1.0
    assert flat.label not in found
    assert json.loads(json.dumps(as_plain(list(found.values()), 2)))["metrics"][rising.label]["knows"] == 2


@pytest.mark.slow
def test_what_is_shipped_is_what_is_measured(tmp_path):
    """Three models that know and three that do not, of the twenty and twenty behind the numbers that are shown."""
    found = {one.label: one for one in separations(pools(tmp_path, 3), "full")}
    shipped = {one.label: one for one in measured()}
    assert set(shipped) <= set(found)
    for label, one in shipped.items():
        if one.area == 1.0:
            assert found[label].area == 1.0, label
    fit = [label for label, one in shipped.items() if one.area >= FIT]
    assert {"extraction_strength", "exact_memorisation", "probability", "mia_loss"} <= {
        label.partition("(")[0] for label in fit
    }
    assert not workflow.World(pools(tmp_path, 3)[0].benchmark, tmp_path / "seed-0").jobs()  # trained once
