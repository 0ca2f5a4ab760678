"""The command ``expunge``: its subcommands, and what happens around each of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any

import typer
from typer.main import get_command

import expunge
from expunge.cli import doctor, environment, output
from expunge.cli.attack import attack
from expunge.cli.audit import audit
from expunge.cli.bench import bench
from expunge.cli.compare import compare
from expunge.cli.demo import demo
from expunge.cli.guesses import guesses
from expunge.cli.list import list_names
from expunge.cli.prepare import prepare
from expunge.cli.shadows import shadows
from expunge.cli.show import show
from expunge.cli.unlearn import plan, unlearn


def kebab(token: str) -> str:
    """Makes ``--learning_rate`` and ``--learning-rate`` one option, and likewise subcommands and choices."""
    return token.replace("_", "-")


app = typer.Typer(
    name="expunge",
    add_completion=False,
    rich_markup_mode=None,  # rich's help takes longer to load than all the rest
    pretty_exceptions_enable=False,
    context_settings={"token_normalize_func": kebab, "help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo)
app.command("unlearn")(unlearn)
app.command("audit")(audit)
app.command("attack")(attack)
app.command("guesses")(guesses)
app.command("compare")(compare)
app.command("plan")(plan)
app.command("bench")(bench)
app.command("shadows")(shadows)
app.command("prepare")(prepare)
app.command("list")(list_names)
app.command("show")(show)
app.command("doctor")(doctor.doctor)


def _print_version(asked: bool) -> None:
    if asked:
        output.say(f"expunge {expunge.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show tracebacks, which may hold record text. Works behind a subcommand too."),
    ] = False,
) -> None:
    """Make a language model forget, and show whether it did."""
    if context.invoked_subcommand is None:
        output.complain(context.get_help())
        raise typer.Exit(output.USAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code; see ``expunge.cli.output`` for the codes.

    Args:
        arguments: what follows the command; those of this process when None.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in _before_separator(given)
    given = [*(item for item in _before_separator(given) if item != "--debug"), *given[len(_before_separator(given)) :]]
    environment.prepare(debug=debug)
    return output.guard(lambda: _command()(given, prog_name="expunge", standalone_mode=False), debug=debug)


@cache
def _command() -> Callable[..., Any]:
    """The subcommands with their options, read from their signatures once in a process."""
    return get_command(app)


def _before_separator(arguments: list[str]) -> list[str]:
    return arguments[: arguments.index("--")] if "--" in arguments else arguments
