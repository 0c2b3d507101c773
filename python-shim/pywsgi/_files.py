"""Decides which objects passed to `wsgi.file_wrapper` nginx can send as a file."""

from __future__ import annotations

import io
import sys
from typing import Any


def real_file(filelike: Any) -> tuple[int, int] | None:
    """The descriptor and the offset at which `filelike.read` would continue.

    None if `read` may return anything but the unchanged bytes of a file on disk: GzipFile and
    TextIOWrapper also have a `fileno()`, but return something else. If in doubt, None: the file is
    then read.
    """
    opened = _opened(filelike)
    if opened is None or opened.closed or not opened.readable() or not opened.seekable():
        return None
    if isinstance(opened, io.BufferedRandom):
        opened.flush()
    return opened.fileno(), opened.tell()


def _opened(filelike: Any) -> Any:
    """The object of `io` whose `read` is called by `filelike.read`."""
    tempfile = sys.modules.get("tempfile")
    if tempfile is not None and isinstance(filelike, tempfile._TemporaryFileWrapper):
        filelike = filelike.file
    # Django's File and others expose the method of the file inside them.
    read = getattr(filelike, "read", None)
    opened: Any = getattr(read, "__self__", None)
    if getattr(read, "__name__", None) != "read" or not _reads_as_io_does(opened):
        return None
    raw = opened if isinstance(opened, io.FileIO) else opened.raw
    # The raw file may be of another kind, such as a decompressor's.
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
