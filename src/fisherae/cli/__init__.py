"""The command line: thin; what computes is imported when a command runs."""

from fisherae.cli.main import COMMANDS, main
from fisherae.cli.outcome import exit_code

__all__ = ["COMMANDS", "exit_code", "main"]
