"""The command line."""

from kintune.cli.commands import COMMANDS, main

__all__ = ["COMMANDS", "main"]
