"""Data sets of Hugging Face: by name from the hub, or as Parquet files in a folder."""

import os
import re
import socket
import threading
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from fisherae.data.decode import Picture, Pictures
from fisherae.data.splits import SPLIT_NAMES, find_split, held_out
from fisherae.errors import InputError

__all__ = ["hub_dataset", "parquet_folder", "table_pictures"]


def hub_dataset(hub_name: str, name: str, split: str) -> Pictures:
    """Any image data set of the hub; from the local cache while the hub cannot be reached.

    Raises:
        InputError: neither cached nor reachable (said within two seconds), or not on the hub, or
            without such a split or an image column.
    """
    import datasets  # takes a second
    from huggingface_hub.constants import HF_HUB_CACHE

    online = _reachable()
    if not online and not _cached(hub_name):
        raise InputError(
            f"{hub_name!r} is not in the cache of Hugging Face data sets "
            f"({datasets.config.HF_DATASETS_CACHE}), and {datasets.config.HF_ENDPOINT} cannot be "
            "reached: connect to the network, or use data of a folder"
        )
    try:
        with _offline(not online):
            parts = datasets.load_dataset(hub_name)
    # The hub's client, its builders and its file systems each have their own errors.
    except Exception as error:
        raise InputError(f"{hub_name!r} cannot be loaded from the hub: {error}") from error
    part, divide = find_split(list(parts), split, hub_name)
    table = parts[part].with_format("arrow")[:]
    caches = [Path(HF_HUB_CACHE).absolute(), Path(datasets.config.HF_DATASETS_CACHE).absolute()]
    pictures = table_pictures(table, name, f"{hub_name} ({part})", caches)
    return _maybe_divide(pictures, divide, split)


def parquet_folder(root: Path, name: str, split: str) -> Pictures:
    """Parquet files whose names start with their split, such as `train-00000-of-00002.parquet`.

    A single part is divided 90/10 by the number of the row. The files hold the images themselves:
    other files that they name are not opened.

    Raises:
        InputError: a damaged file, or no such split, or no image column, or a row without an image.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> table = pa.table({"image": [{"bytes": b"...", "path": "1.png"}]})
        >>> pq.write_table(table, root / "train.parquet")
        >>> pq.write_table(table, root / "test.parquet")
        >>> len(parquet_folder(root, "mine", "train"))
        1
    """
    files: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*.parquet")):
        word = re.split(r"[^a-z]", path.stem.lower())[0]
        files.setdefault(word if word in SPLIT_NAMES else "all", []).append(path)
    part, divide = find_split(files, split, str(root))
    tables = [_read(path) for path in files[part]]
    try:
        table = pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise InputError(f"{root} ({part}): its files do not go together: {error}") from error
    return _maybe_divide(table_pictures(table, name, f"{root} ({part})"), divide, split)


def table_pictures(
    table: pa.Table, name: str, where: str, folders: Collection[Path] = ()
) -> Pictures:
    """The image column of a table (structs of bytes and path), and `label` if it is integer.

    Arguments:
        table: a row for each image.
        name: of the data set.
        where: what an error message calls the table.
        folders: from which images may be read whose rows have only a path.

    Raises:
        InputError: no image column, no rows, or a row without an image.

    Example:
        >>> table = pa.table({"image": [{"bytes": b"...", "path": "1.png"}], "label": [7]})
        >>> table_pictures(table, "mine", "mine.parquet").labels
        tensor([7])
    """
    column = table[_image_column(table.schema, where)]
    datas = pc.struct_field(column, "bytes")
    paths = pc.struct_field(column, "path")
    pictures = [
        _picture(f"{where} row {row}", data, path, folders)
        for row, (data, path) in enumerate(zip(datas, paths, strict=True))
    ]
    if not pictures:
        raise InputError(f"{where} holds no rows")
    return Pictures(name, pictures, _labels(table))


def _picture(where: str, data: pa.Scalar, path: pa.Scalar, folders: Collection[Path]) -> Picture:
    if data.is_valid:
        return Picture(where, memoryview(data.as_buffer()))
    if not path.is_valid:
        raise InputError(f"{where} holds no image: leave the row out")
    file = Path(os.path.abspath(path.as_py()))
    # A table must not make us read whatever file it names.
    if any(file.is_relative_to(folder) for folder in folders):
        return Picture(f"{where} ({path})", file)
    raise InputError(
        f"{where} holds no image, only the name of a file, {path}, which is not opened: put the "
        "bytes into the table, or give the folder of the files"
    )


def _labels(table: pa.Table) -> Tensor | None:
    if "label" not in table.column_names:
        return None
    column = table["label"]
    if not pa.types.is_integer(column.type) or column.null_count:
        return None
    try:
        return torch.tensor(column.cast(pa.int64()).to_pylist(), dtype=torch.int64)
    except pa.ArrowInvalid:  # numbers as large as no class's
        return None


def _image_column(schema: pa.Schema, where: str) -> str:
    columns = [
        field.name
        for field in schema
        if pa.types.is_struct(field.type) and {"bytes", "path"} <= _readable(field.type)
    ]
    if not columns:
        raise InputError(
            f"{where} has no image column (a struct of bytes and path); "
            f"its columns: {', '.join(schema.names)}"
        )
    return "image" if "image" in columns else columns[0]


def _readable(struct: pa.StructType) -> set[str]:
    """The fields of a type that an image's bytes and path can have; of empty ones it is null."""
    kinds = {pa.binary(), pa.large_binary(), pa.string(), pa.large_string(), pa.null()}
    return {part.name for part in struct if part.type in kinds}


def _read(path: Path) -> pa.Table:
    try:
        file = pq.ParquetFile(path)
        wanted = {_image_column(file.schema_arrow, str(path)), "label"}
        return file.read([name for name in file.schema_arrow.names if name in wanted])
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a Parquet file that can be read: {error}") from error


def _maybe_divide(pictures: Pictures, divide: bool, split: str) -> Pictures:
    if not divide:
        return pictures
    return pictures.take(held_out(map(str, range(len(pictures))), split, pictures.name))


def _reachable(timeout: float = 1.5) -> bool:
    """Whether the hub, or the proxy before it, answers. Left alone, a hub call retries for 23 s."""
    import datasets

    if datasets.config.HF_HUB_OFFLINE:
        return False
    url = urlsplit(urllib.request.getproxies().get("https") or datasets.config.HF_ENDPOINT)
    address = (url.hostname, url.port or (80 if url.scheme == "http" else 443))
    answered = threading.Event()

    def connect() -> None:
        with suppress(OSError), socket.create_connection(address, timeout):
            answered.set()

    # In a thread, because the look-up of a name has no time limit of its own.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout)
    return answered.is_set()


def _cached(hub_name: str) -> bool:
    import datasets
    from datasets.naming import camelcase_to_snakecase

    owner, name = hub_name.split("/")
    folder = Path(datasets.config.HF_DATASETS_CACHE) / f"{owner}___{camelcase_to_snakecase(name)}"
    return any(folder.glob("*/*/*"))


@contextmanager
def _offline(offline: bool) -> Iterator[None]:
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = offline
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
