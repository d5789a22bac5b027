"""The command line: thin; what computes is imported when a command runs."""

from fisherae.cli.main import COMMANDS, main

__all__ = ["COMMANDS", "main"]
