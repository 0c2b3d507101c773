"""The guestbook's data folder, created at the first start by one worker."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import database


class Storage:
    def __init__(self, folder: Path) -> None:
        self.pictures = folder / "pictures"
        self.database = folder / "guestbook.sqlite3"
        self.pictures.mkdir(parents=True, exist_ok=True)
        # nginx starts all workers at the same time, and each of them runs this.
        with locked(folder / "lock"):
            database.create(self.database)
            self.secret_key = load_or_create_key(folder / "secret_key")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def load_or_create_key(path: Path) -> bytes:
    """The key that signs session cookies, the same in all workers."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
    return path.read_bytes()
