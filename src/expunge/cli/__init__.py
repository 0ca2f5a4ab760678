"""The command line: one file for each subcommand. ``--help`` and ``list`` answer without loading torch."""

from __future__ import annotations

from expunge.cli.app import main

__all__ = ["main"]
