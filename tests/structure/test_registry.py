"""Names are known without importing what they name, and are the names that importing registers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from expunge import registry
from expunge.errors import UnknownNameError

REGISTRIES = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]


@pytest.mark.parametrize("known", REGISTRIES, ids=lambda known: known.variable)
def test_scanned_names_are_the_registered_ones(known):
    for name in known.names():
        assert known.get(name) is not None
    assert set(known._objects) == set(known.names())


def test_expected_names_are_there():
    assert {
        "gradient_ascent",
        "grad_diff",
        "kl_min",
        "npo",
        "idk_dpo",
        "task_vector",
        "retrain",
        "guardrail",
    } <= set(registry.methods.names())
    assert set(registry.retain_terms.names()) >= {"none", "nll", "kl"}
    assert {"quick", "tofu"} <= set(registry.suites.names())


def test_unknown_name_is_answered_with_the_close_ones():
    with pytest.raises(UnknownNameError, match=r"no method named 'gradient_acent'.*Did you mean 'gradient_ascent'"):
        registry.methods.get("gradient_acent")


@pytest.mark.parametrize(
    "code",
    ["import expunge", "from expunge.registry import methods; methods.names()", "from expunge.cli import app"],
)
def test_names_and_help_need_no_torch(code):
    check = f"{code}\nimport sys\nassert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
