"""What the parts of a data set are called, and what to do where it has no parts."""

import hashlib
from collections.abc import Collection, Iterable

from fisherae.errors import InputError

__all__ = ["SPLIT_NAMES", "find_split", "held_out"]

_VALID = ("valid", "validation", "val")
_CANDIDATES = {
    "train": ("train", "training"),
    "valid": _VALID,
    # Many published sets keep their test labels to themselves and come with a validation split.
    "test": ("test", "testing", *_VALID),
}
SPLIT_NAMES = frozenset(name for names in _CANDIDATES.values() for name in names)


def find_split(names: Collection[str], split: str, where: str) -> tuple[str, bool]:
    """The name under which a split is found, and whether a tenth of it has to be held out.

    "test" falls back to a validation split. If there is neither, the training part (or the only
    part there is) has to be divided by `held_out`.

    Raises:
        InputError: there is no such split.

    Example:
        >>> find_split(["train", "validation"], "test", "data")
        ('validation', False)
        >>> find_split(["train"], "test", "data")
        ('train', True)
    """
    apart = any(name in names for name in _CANDIDATES["test"])
    if not apart and split != "valid":
        parts = [name for name in names if name in _CANDIDATES["train"] or len(names) == 1]
    else:
        parts = [name for name in _CANDIDATES[split] if name in names]
    if not parts:
        raise InputError(f"{where} has no split {split!r}; it has: {', '.join(sorted(names))}")
    return parts[0], not apart


def held_out(keys: Iterable[str], split: str, where: str) -> list[int]:
    """Indices of a fixed 90/10 split by hash: a key keeps its side when others are added.

    Raises:
        InputError: no key falls on the wanted side.

    Example:
        >>> keys = [f"{i}.png" for i in range(1000)]
        >>> len(held_out(keys, "train", "data")) + len(held_out(keys, "test", "data"))
        1000
    """
    digests = (hashlib.sha256(key.encode()).digest() for key in keys)
    tests = [int.from_bytes(digest[:8], "big") % 10 == 0 for digest in digests]
    index = [i for i, is_test in enumerate(tests) if is_test == (split == "test")]
    if not index:
        raise InputError(
            f"{where}: none of its {len(tests)} images falls into the {split} part of the 90/10 "
            "split: put the images into sub-folders train and test"
        )
    return index
