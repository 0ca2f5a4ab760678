"""``expunge show``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from expunge import registry as registry_module
from expunge.cli import main
from expunge.cli.show import _print as print_entry
from expunge.cli.show import describe
from expunge.config import Choice
from expunge.metrics import faithfulness
from expunge.metrics.faithfulness import Separation
from expunge.registry import Registry, registries

Capture = pytest.CaptureFixture[str]


def shown(capsys: Capture, *arguments: str) -> list[dict[str, Any]]:
    assert main(["show", *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, list)
    return found


@dataclass(frozen=True, kw_only=True)
class Base:
    """Base of the things.

    Attributes:
        inherited: from the base.
    """

    inherited: int = 1


@dataclass(frozen=True, kw_only=True)
class Thing(Base):
    """Does a thing.

    At some length.

    Attributes:
        documented: in the docstring.
    """

    paper: ClassVar[str] = "Doe, 2024, https://example.org/1"

    needed: float  # in a comment
    documented: tuple[str, ...] = ("a",)
    made: dict[str, int] = field(default_factory=lambda: {"a": 1})
    hidden: int = field(default=3, init=False)


@dataclass(frozen=True)
class Recipe:
    """Base of recipes, said of none in particular."""

    method: Choice
    source: str = ""


@pytest.fixture
def things(monkeypatch: pytest.MonkeyPatch) -> Registry:
    planted = Registry("things", "thing")
    planted.register("thing")(Thing)
    planted.register("recipe")(Recipe(Choice("thing", {"needed": 2.0}), "somewhere"))
    planted.register("function")(describe)
    monkeypatch.setattr(registry_module, "things", planted, raising=False)
    return planted


def test_a_class_with_its_settings(things: Registry) -> None:
    assert describe(things, "thing") == {
        "kind": "things",
        "name": "thing",
        "summary": "Does a thing.",
        "documentation": Thing.__doc__ and describe(things, "thing")["documentation"],
        "module": __name__,
        "paper": "Doe, 2024, https://example.org/1",
        "spec": None,
        "preset": None,
        "faithfulness": [],
        "settings": [
            {"name": "inherited", "type": "int", "default": 1, "required": False, "help": "from the base."},
            {"name": "needed", "type": "float", "default": None, "required": True, "help": "in a comment"},
            {
                "name": "documented",
                "type": "tuple[str, ...]",
                "default": ["a"],
                "required": False,
                "help": "in the docstring.",
            },
            {"name": "made", "type": "dict[str, int]", "default": {"a": 1}, "required": False, "help": ""},
        ],
    }


def test_a_preset_shows_the_settings_of_its_method(things: Registry) -> None:
    found = describe(things, "recipe")
    assert found["preset"] == {"method": {"name": "thing", "settings": {"needed": 2.0}}, "source": "somewhere"}
    own = describe(things, "thing")["settings"]
    given = {"default": 2.0, "required": False}
    assert found["settings"] == [{**one, **given} if one["name"] == "needed" else one for one in own]
    assert found["documentation"] == ""
    assert found["paper"] == "Doe, 2024, https://example.org/1"


def test_text_shows_all_of_it(things: Registry, capsys: Capture) -> None:
    assert main(["show", "thing"]) == 0
    text = capsys.readouterr().out
    for part in ("thing (things, ", "At some length.", "Paper: Doe", "needed", "float, required; in a comment"):
        assert part in text
    assert main(["show", "recipe"]) == 0
    assert "thing(needed=2.0)" in capsys.readouterr().out
    assert main(["show", "function"]) == 0
    assert "Returns kind, name" in capsys.readouterr().out


def test_a_real_method(capsys: Capture) -> None:
    [found] = shown(capsys, "npo")
    assert found["kind"] == "methods"
    assert "2404.05868" in found["paper"]
    beta = next(item for item in found["settings"] if item["name"] == "beta")
    assert (beta["type"], beta["default"], beta["required"]) == ("float", 0.1, False)
    assert "gradient ascent" in beta["help"]
    assert found["spec"]["access"] == "weights"


def test_what_was_measured_of_a_metric(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    known = (
        Separation("rouge(split=forget)", 0.95, 0.81, 20, 19),
        Separation("rouge(split=forget, form=cloze)", 0.89, 0.7, 20, 20),
        Separation("perplexity(split=forget)", 1.0, 0.9, 20, 20),
    )
    monkeypatch.setattr(faithfulness, "measured", lambda: known)
    [found] = shown(capsys, "rouge")
    assert [(item["area"], item["fit"]) for item in found["faithfulness"]] == [(0.95, True), (0.89, False)]
    assert main(["show", "rouge"]) == 0
    text = " ".join(capsys.readouterr().out.split())  # long lines are wrapped
    assert "0.95 (at least 0.81, 20 x 19 models) rouge" in text
    assert "0.89 (at least 0.70, 20 x 20 models) unfit" in text
    assert shown(capsys, "npo")[0]["faithfulness"] == []


def test_a_name_of_several_kinds(capsys: Capture) -> None:
    assert {entry["kind"] for entry in shown(capsys, "none")} >= {"retain_terms", "stoppers"}
    [found] = shown(capsys, "none", "--kind", "retain-terms")
    assert found["kind"] == "retain_terms"
    assert main(["show", "none"]) == 0
    text = capsys.readouterr().out
    assert "none (retain_terms" in text
    assert "none (stoppers" in text


def test_unknown_names(capsys: Capture) -> None:
    assert main(["show", "npoo"]) == 2
    assert "Nothing is named 'npoo'. Did you mean 'npo'" in capsys.readouterr().err
    assert main(["show", "npo", "--kind", "metrics"]) == 2
    assert "among the metrics" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["methods", "retain_terms", "metrics", "stoppers", "optimizers", "attacks", "suites"])
def test_everything_registered_can_be_shown(kind: str, capsys: Capture) -> None:
    for name in registries()[kind].names():
        found = json.loads(json.dumps(describe(registries()[kind], name)))
        print_entry(found, separate=False)
        said = capsys.readouterr().out
        assert said.startswith(f"{name} ({kind}, expunge.")
        assert all(f"\n  {item['name']} " in said for item in found["settings"])


def test_memory_and_needs_are_those_of_the_preset(capsys):
    """TAR: weights, gradients, two moments, a frozen copy, four of the attack. KL-min needs what its term reads."""
    (tar,), (kl,) = shown(capsys, "tar"), shown(capsys, "kl_min")
    assert tar["spec"]["memory_factor"] == 9.0
    assert kl["spec"]["needs"] == ["forget", "retain"]
    assert kl["spec"]["memory_factor"] == 5.0


def test_a_preset_shows_what_it_needs_and_takes_with_its_axes_and_its_own_defaults() -> None:
    """RMU's class declares neither the retain records nor the layer that the preset ``lat`` gives it."""
    entry = describe(registries()["methods"], "lat")
    assert entry["spec"]["needs"] == ["forget", "retain"]
    assert {one["name"]: one["default"] for one in entry["settings"]}["layer"] == "0.2581"
    assert describe(registries()["methods"], "tar")["spec"]["memory_factor"] > 4
