"""Which objects that an application gives to `wsgi.file_wrapper` nginx can send as a file."""

from __future__ import annotations

import io
import sys
from typing import Any


def real_file(filelike: Any) -> tuple[int, int] | None:
    """The descriptor and the offset at which `filelike.read` would go on reading a file.

    None where reading gives anything but the bytes of a file on the disk as they are: GzipFile
    and TextIOWrapper have a `fileno()`, too, and read something else. What is not provably the same
    is read.
    """
    opened = _opened(filelike)
    if opened is None or opened.closed or not opened.readable() or not opened.seekable():
        return None
    if isinstance(opened, io.BufferedRandom):
        opened.flush()
    return opened.fileno(), opened.tell()


def _opened(filelike: Any) -> Any:
    """The object of `io` whose `read` is what `filelike.read` calls."""
    tempfile = sys.modules.get("tempfile")
    if tempfile is not None and isinstance(filelike, tempfile._TemporaryFileWrapper):
        filelike = filelike.file
    # Django's File and others lend the method of the file inside them.
    read = getattr(filelike, "read", None)
    opened: Any = getattr(read, "__self__", None)
    if getattr(read, "__name__", None) != "read" or not _reads_as_io_does(opened):
        return None
    raw = opened if isinstance(opened, io.FileIO) else opened.raw
    # A raw file of another kind below, such as a decompressor's.
    return opened if _is_file_io(raw) else None


def _reads_as_io_does(opened: Any) -> bool:
    for kind in (io.BufferedReader, io.BufferedRandom, io.FileIO):
        if isinstance(opened, kind):
            return _same(opened, kind, "read", "tell", "fileno")
    return False


def _is_file_io(raw: Any) -> bool:
    return isinstance(raw, io.FileIO) and _same(raw, io.FileIO, "readinto", "tell", "fileno")


def _same(opened: Any, kind: type, *methods: str) -> bool:
    """A subclass may read something else."""
    return all(getattr(type(opened), name) is getattr(kind, name) for name in methods)
