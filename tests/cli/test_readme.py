"""What README.md tells people to type is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

import expunge
from expunge.cli.app import app

ROOT = Path(__file__).parents[2]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
COMMAND = re.compile(r"^\s*(?:\$ )?(expunge [a-z].*)$|`(expunge [a-z][^`]*)`", re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def commands_in(text: str) -> list[list[str]]:
    """Lines of code blocks and spans that begin with ``expunge VERB``, cut into words."""
    whole = text.replace("\\\n", " ")
    return [shlex.split(block or span, comments=True) for block, span in COMMAND.findall(whole)]


def faults(text: str) -> list[str]:
    """Verbs and flags that the command line does not have; prose may name the flags of any verb."""
    found = []
    for _, verb, *rest in commands_in(text):
        if verb not in COMMANDS:
            found.append(verb)
            continue
        flags = {flag for option in COMMANDS[verb].params for flag in option.opts}
        found += [word for word in rest if word.startswith("--") and word.partition("=")[0] not in flags]
    everywhere = {flag for command in COMMANDS.values() for option in command.params for flag in option.opts}
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return found + [
        flag for span in re.findall(r"`([^`]*)`", prose) for flag in FLAG.findall(span) if flag not in everywhere
    ]


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_and_flag_of_the_readme_exists(readme: str) -> None:
    verbs = {command[1] for command in commands_in(readme)}
    assert {"plan", "unlearn", "audit", "list", "show", "doctor"} <= verbs  # the search finds them
    assert faults(readme) == []


def test_planted_faults_are_found() -> None:
    block = "```\nexpunge unlern MODEL\nexpunge plan M \\\n    --forget f --forgot g\n```\n"
    assert faults(block) == ["unlern", "--forgot"]
    assert faults("Try `expunge verify RUN`, `expunge show --kid x` or `--benchmrk`.") == [
        "verify",
        "--kid",
        "--kid",
        "--benchmrk",
    ]
    assert faults("Expunge knows a lot, and expunge does it.") == []


def test_files_that_the_readme_links_to_are_there(readme: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", readme) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_targets_of_make_in_the_readme_are_there(readme: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z-]+)", readme, re.MULTILINE)) <= targets


def test_names_of_the_package_in_the_readme_resolve(readme: str) -> None:
    names = set(re.findall(r"expunge\.([A-Za-z_]+)\(", readme))
    assert {"unlearn", "Request"} <= names <= set(expunge.__all__)
    for name in expunge.__all__:
        assert getattr(expunge, name) is not None


def test_the_package_names_what_its_api_names() -> None:
    from expunge import api

    exported = {name for name, value in vars(api).items() if getattr(value, "__module__", "").startswith("expunge.")}
    assert set(expunge.__all__) == {*exported, "__version__"}
