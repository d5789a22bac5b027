"""Folders of image files: CelebA as it is published, and the user's own."""

from pathlib import Path

import torch

from fisherae.data.decode import Picture, Pictures
from fisherae.data.splits import SPLIT_NAMES, find_split, held_out
from fisherae.errors import InputError

__all__ = ["celeba_folder", "image_folder", "is_celeba"]

_IMAGES = "img_align_celeba"
_PARTITION = "list_eval_partition.txt"
_PARTS = {"train": "0", "valid": "1", "test": "2"}
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


def is_celeba(root: Path) -> bool:
    """Whether a folder is CelebA in its official layout, or was meant to be.

    Example:
        >>> is_celeba(Path("."))
        False
    """
    return (root / _PARTITION).is_file() or (root / _IMAGES).is_dir()


def celeba_folder(root: Path, name: str, split: str) -> Pictures:
    """CelebA in its official layout: `img_align_celeba/` and `list_eval_partition.txt`.

    Raises:
        InputError: a damaged partition list, or listed images that are not there.

    References:
        Liu et al. (2015), Deep Learning Face Attributes in the Wild,
        http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "img_align_celeba").mkdir()
        >>> (root / "img_align_celeba" / "000001.jpg").touch()
        >>> _ = (root / "list_eval_partition.txt").write_text("000001.jpg 0")
        >>> len(celeba_folder(root, "celeba", "train"))
        1
    """
    folder = root / _IMAGES
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    names = _read_partition(root / _PARTITION, _PARTS[split])
    missing = [file for file in names if file not in present]
    if missing:
        raise InputError(
            f"{folder} lacks {len(missing)} of the {len(names)} {split} images, "
            f"e.g. {missing[0]}: unpack img_align_celeba.zip there"
        )
    return Pictures(name, [Picture(str(folder / file), folder / file) for file in names])


def image_folder(root: Path, name: str, split: str) -> Pictures:
    """Images directly in a folder or in sub-folders, which are then the classes.

    With sub-folders train and test (or valid) these are the splits; otherwise a fixed tenth, by
    hash of the relative path, is the test split. Hidden files are left alone.

    Raises:
        InputError: no images, or no such split.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for file in ("train/cat/1.png", "train/dog/1.png", "test/dog/2.png"):
        ...     (root / file).parent.mkdir(parents=True)
        ...     (root / file).touch()
        >>> image_folder(root, "pets", "test").labels
        tensor([1])
    """
    files = _image_files(root)
    tops = {path.parts[0] for path in files if len(path.parts) > 1}
    part, divide = find_split(tops & SPLIT_NAMES or {"."}, split, str(root))
    classes = _classes(files, depth=0 if part == "." else 1)
    if part != ".":
        files = [path for path in files if path.parts[0] == part]
    labels = torch.tensor([classes[path] for path in files]) if classes else None
    found = Pictures(name, [Picture(str(root / path), root / path) for path in files], labels)
    if not divide:
        return found
    return found.take(held_out([path.as_posix() for path in files], split, str(root)))


def _read_partition(path: Path, part: str) -> list[str]:
    if not path.is_file():
        raise InputError(f"{path} is missing: it says which images are for training")
    names = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        match line.split():
            case [name, "0" | "1" | "2" as value]:
                if value == part:
                    names.append(name)
            case []:
                pass
            case _:
                raise InputError(
                    f"{path}, line {number}: {line[:60]!r}: expected a file name and 0, 1 or 2"
                )
    if not names:
        raise InputError(f"{path} lists no image for part {part} (0 train, 1 valid, 2 test)")
    return names


def _image_files(root: Path) -> list[Path]:
    """Relative paths in a fixed order."""
    paths = (path.relative_to(root) for path in root.rglob("*"))
    files = sorted(
        path
        for path in paths
        if path.suffix.lower() in _SUFFIXES and not any(part[0] == "." for part in path.parts)
    )
    if not files:
        raise InputError(f"{root} holds no images ({' '.join(sorted(_SUFFIXES))})")
    return files


def _classes(files: list[Path], depth: int) -> dict[Path, int]:
    """The class of every file, named by its folder at that depth, over all splits alike.

    Empty unless there are several classes and every file is in one.
    """
    folders = {path: path.parts[depth] for path in files if len(path.parts) > depth + 1}
    names = sorted(set(folders.values()))
    if len(names) < 2 or len(folders) < len(files):
        return {}
    return {path: names.index(name) for path, name in folders.items()}
