"""The errors that a user is meant to read."""

__all__ = ["InputError", "NonFiniteError"]


class InputError(ValueError):
    """Something the user gave is wrong: the message says what, where, and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


class NonFiniteError(RuntimeError):
    """Training or sampling stopped because a number is no longer finite; the message says which."""
