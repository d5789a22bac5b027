"""Numbers of things: dimensions, channels, components."""

from typing import TypeGuard

__all__ = ["LARGEST", "is_count", "is_whole"]

LARGEST = 2**31 - 1
"""What torch can count with, whatever it is multiplied by."""


def is_count(value: object, least: int = 1) -> bool:
    """Whether a value is an integer, no truth value, from `least` to `LARGEST`.

    Example:
        >>> is_count(3), is_count(True), is_count(2.0), is_count(1, least=2)
        (True, False, False, False)
    """
    return is_whole(value, least) and value <= LARGEST


def is_whole(value: object, least: int = 1) -> TypeGuard[int]:
    """Whether a value is an integer, no truth value, of at least `least`, however large.

    Example:
        >>> is_whole(10**20), is_whole(True), is_whole(0), is_whole(0, least=0)
        (True, False, False, True)
    """
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
