"""The command line: one file for each subcommand. ``--help``, ``list`` and a wrong flag answer without loading torch."""

from __future__ import annotations

from expunge.cli.app import main

__all__ = ["main"]
