"""Which objects nginx may send as files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tempfile
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from pywsgi._files import real_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    return path


def test_what_open_gives_is_a_file(path: Path) -> None:
    for mode, buffering in [("rb", -1), ("rb", 0), ("r+b", -1), ("r+b", 0), ("rb", 1 << 20)]:
        with open(path, mode, buffering) as file:
            assert real_file(file) == (file.fileno(), 0)
            file.read(3)
            assert real_file(file) == (file.fileno(), 3)
            file.seek(7)
            assert real_file(file) == (file.fileno(), 7)


def test_what_was_written_is_flushed_first(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(b"new")
        assert real_file(file) == (file.fileno(), 3)
        assert path.read_bytes() == b"new3456789"


def test_temporary_files_are(path: Path) -> None:
    with tempfile.TemporaryFile() as file, tempfile.NamedTemporaryFile() as named:
        named.write(b"abc")
        named.seek(1)
        assert real_file(file) == (file.fileno(), 0)
        assert real_file(named) == (named.fileno(), 1)


def test_who_lends_the_method_of_a_file_is(path: Path) -> None:
    class Lender:
        def __init__(self, file: BinaryIO) -> None:
            self.file = file

        @property
        def read(self) -> Any:
            return self.file.read

    with open(path, "rb") as file:
        assert real_file(Lender(file)) == (file.fileno(), 0)


class Upper(io.BufferedReader):
    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size).upper()


class Elsewhere(io.FileIO):
    def readinto(self, buffer: Any, /) -> int:
        return 0


class Unrelated:
    def read(self, size: int) -> bytes:
        return b""

    def fileno(self) -> int:
        return 0


def test_what_reads_otherwise_is_not(path: Path) -> None:
    zipped = path.with_suffix(".zip")
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("member", b"content")
    packers: tuple[Any, ...] = (gzip, bz2, lzma)
    for packer in packers:
        with packer.open(path, "wb") as file:
            file.write(b"content")
        with packer.open(path) as file:
            assert real_file(file) is None
            assert real_file(io.BufferedReader(file)) is None
    with zipfile.ZipFile(zipped) as archive, archive.open("member") as member:
        assert real_file(member) is None
    with open(path) as text, open(path, "wb") as unreadable:
        assert real_file(text) is None
        assert real_file(unreadable) is None
    with Upper(io.FileIO(path)) as upper, io.BufferedReader(Elsewhere(path)) as elsewhere:
        assert real_file(upper) is None
        assert real_file(elsewhere) is None
    with tempfile.SpooledTemporaryFile() as spooled:
        assert real_file(spooled) is None
        assert not vars(spooled)["_rolled"]
    others: tuple[object, ...] = (io.BytesIO(b"x"), Unrelated(), object())
    for other in others:
        assert real_file(other) is None


def test_a_closed_file_is_not(path: Path) -> None:
    file = open(path, "rb")  # noqa: SIM115 (closed at once)
    file.close()
    assert real_file(file) is None
