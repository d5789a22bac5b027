"""Files that are either whole or not there."""

import os

import pytest

from fisherae.errors import InputError
from fisherae.files import read_json, write_atomically, write_json


@pytest.mark.parametrize("content", ["text, σ²\n", b"\x00\xff"])
def test_what_is_written_is_read(tmp_path, content):
    path = tmp_path / "new" / "folders" / "file"
    write_atomically(path, content)
    read = path.read_bytes()
    assert read == (content.encode() if isinstance(content, str) else content)
    assert os.listdir(path.parent) == ["file"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full_disk(_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_json_round_trip(tmp_path):
    content = {"name": "Σ", "numbers": [1, 0.1, None], "nested": {"flag": True}}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert '\n  "name"' in (tmp_path / "a.json").read_text()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_knows_no_infinity(tmp_path, number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", [number])
    assert not os.listdir(tmp_path)


def test_read_json_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: no such file"):
        read_json(tmp_path / "gone.json")
    for name, content in {"cut": b'{"a": [1,', "binary": b"\x80\x81\xff"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: not a readable JSON file"):
            read_json(tmp_path / name)
    with pytest.raises(InputError, match="not a readable JSON file"):
        read_json(tmp_path)
