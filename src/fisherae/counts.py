"""Numbers of things: dimensions, channels, components."""

__all__ = ["LARGEST", "is_count"]

LARGEST = 2**31 - 1
"""What torch can count with, whatever it is multiplied by."""


def is_count(value: object, least: int = 1) -> bool:
    """Whether a value is an integer, no truth value, from `least` to `LARGEST`.

    Example:
        >>> is_count(3), is_count(True), is_count(2.0), is_count(1, least=2)
        (True, False, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= LARGEST
