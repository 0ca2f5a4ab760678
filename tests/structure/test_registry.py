"""Names read from source text are the names registered; and what must not load torch does not."""

from __future__ import annotations

import importlib.metadata
import os
import pkgutil
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from expunge.errors import InputError, UnknownNameError
from expunge.registry import Registry, registries, suggest

HEAVY = ["torch", "transformers", "accelerate", "peft", "scipy", "numpy"]
HELP_SECONDS = 1.0  # of processor time; the wall clock depends on the neighbours


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_scanned_names_are_the_registered_names() -> None:
    """Once every module is imported; what a test registered stands in a module of the tests."""
    packages = {package for registry in registries().values() for package in registry.packages}
    for package in sorted(packages):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            importlib.import_module(module.name)
    for variable, registry in registries().items():
        own = {
            name
            for name, thing in registry._objects.items()
            if not getattr(thing, "__module__", "").startswith("tests")
        }
        assert sorted(own) == sorted(registry._modules), variable
    assert {"methods", "metrics", "stoppers"} <= set(registries())
    assert "npo" in registries()["methods"].names()


def test_no_name_is_announced_twice() -> None:
    for variable, registry in registries().items():
        texts = [text for _, text in registry._sources()]
        for name in registry._modules:
            lines = sum(text.count(f'\n{mark}{variable}.register("{name}")') for text in texts for mark in ("@", ""))
            assert lines == 1, f"{variable} {name}"


def test_every_name_has_a_summary() -> None:
    missing = [
        f"{kind} {name}" for kind, found in registries().items() for name, line in found.summaries().items() if not line
    ]
    assert missing == []


PLUGIN = '''"""Docstring of the module."""
from planted_registry import things

raise RuntimeError("imported")

@things.register("one")
class One:
    """Does one thing.

    And more.
    """

@things.register("two")
@things.register("also_two")
def two():
    """Does two things."""

things.register("three")(
    Preset(method=Choice("one"), axes=Axes(retain_term=Choice("kl"), other=3))
)
things.register("four")(Preset(method=Choice("one"), summary="The fourth."))

def inner():
    """An indented line announces nothing."""
    @things.register("five")
    class Five: ...

@others.register("six")
class Six: ...

@others.register("one")
class OtherOne:
    """Of another registry."""
'''


def test_names_and_summaries_are_read_without_importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted_package" / "inner").mkdir(parents=True)
    (tmp_path / "planted_package" / "__init__.py").write_text("")
    (tmp_path / "planted_package" / "inner" / "things.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    things = Registry("things", "thing", "planted_package", "planted_package_that_is_missing")
    assert things.summaries() == {
        "also_two": "Does two things.",
        "four": "The fourth.",
        "one": "Does one thing.",
        "three": "one, retain_term kl",
        "two": "Does two things.",
    }
    assert things._modules["one"] == "planted_package.inner.things"
    assert "planted_package.inner.things" not in sys.modules


def test_get_suggests_and_lists() -> None:
    things = Registry("things", "thing")
    things.register("gradient_ascent")(object())
    things.register("npo")(object())
    with pytest.raises(UnknownNameError) as caught:
        things.get("gradient_acsent")
    expected = "There is no thing named 'gradient_acsent'. Did you mean 'gradient_ascent'? Known: gradient_ascent, npo."
    assert str(caught.value) == expected
    assert suggest("zzz", ["npo"]) == " Known: npo."
    assert suggest("zzz", []) == ""


def test_two_things_of_one_name_are_refused() -> None:
    things = Registry("things", "thing")
    first = object()
    assert things.register("a")(first) is first
    things.register("a")(first)
    with pytest.raises(InputError, match="registered twice"):
        things.register("a")(object())


def test_name_of_finds_objects_and_instances() -> None:
    things = Registry("things", "thing")
    value = object()
    things.register("value")(value)
    things.register("number")(int)
    assert things.name_of(value) == "value"
    assert things.name_of(3) == "number"
    with pytest.raises(UnknownNameError, match="str is not a registered thing"):
        things.name_of("text")


def test_entry_points_of_other_packages_are_known_and_loaded_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted_plugin.py").write_text('class Plugin:\n    """A method from elsewhere."""\n')
    info = tmp_path / "planted_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[expunge.things]\nelsewhere = planted_plugin:Plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    things = Registry("things", "thing")
    assert things.names() == ["elsewhere"]
    assert things.summaries() == {"elsewhere": "from the package planted-plugin"}
    assert "planted_plugin" not in sys.modules
    assert things.get("elsewhere").__name__ == "Plugin"
    assert things.summaries() == {"elsewhere": "A method from elsewhere."}


CALL = f"""
import sys
if sys.argv[1:]:
    from expunge.cli import main
    code = main(sys.argv[1:])
else:
    import expunge
    code = 0
print(code, *(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["--help"],
        ["--version"],
        ["list", "methods", "--json"],
        ["list", "metrics"],
        ["list", "--help"],
        ["show", "-h"],
    ],
    ids=" ".join,
)
def test_no_torch_is_loaded(command: list[str]) -> None:
    done = python(CALL, *command)
    assert done.stderr.split() == ["0"]


def test_a_wrong_flag_loads_no_torch_either() -> None:
    assert python(CALL, "list", "methods", "--jsn").stderr.splitlines()[-1] == "2"


def test_help_is_quick() -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "expunge", "--help"], capture_output=True, check=True, env={**os.environ})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < HELP_SECONDS


def test_the_package_names_its_verbs_and_version() -> None:
    import expunge

    assert {"__version__", "audit", "demo", "plan", "unlearn"} <= set(dir(expunge)) == set(expunge.__all__)
    with pytest.raises(AttributeError, match="no attribute 'unlern'"):
        _ = expunge.unlern
    try:
        assert expunge.__version__ == importlib.metadata.version("expunge")
    except importlib.metadata.PackageNotFoundError:
        assert expunge.__version__ == "0+source"


def test_every_verb_of_the_package_can_be_fetched() -> None:
    import expunge

    assert all(getattr(expunge, name) is not None for name in expunge.__all__)
