"""The entries, in SQLite. Every request opens its own connection and closes it at the end."""

import sqlite3
import time
from pathlib import Path

from flask import Flask, current_app, g

SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    created  INTEGER NOT NULL,  -- seconds since 1970, UTC
    name     TEXT NOT NULL,
    message  TEXT NOT NULL,
    picture  TEXT               -- the name of a file in the folder of pictures
);
"""


def create(path: Path) -> None:
    """Creates the database if it does not exist. Must not run twice at the same time."""
    connection = sqlite3.connect(path)
    try:
        # With a write-ahead log, readers and a writer do not block each other.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
    finally:
        connection.close()


def init_app(app: Flask) -> None:
    app.teardown_appcontext(close)


def connection() -> sqlite3.Connection:
    """This request's connection. Writers wait up to ten seconds for each other."""
    if "connection" not in g:
        g.connection = sqlite3.connect(current_app.config["DATABASE"], timeout=10)
        g.connection.row_factory = sqlite3.Row
        g.connection.execute("PRAGMA synchronous = NORMAL")
    return g.connection


def close(_error: BaseException | None = None) -> None:
    opened = g.pop("connection", None)
    if opened is not None:
        opened.close()


def add(name: str, message: str, picture: str | None) -> None:
    with connection() as transaction:
        transaction.execute(
            "INSERT INTO entry (created, name, message, picture) VALUES (?, ?, ?, ?)",
            (int(time.time()), name, message, picture),
        )


def newest(count: int, before: int | None = None) -> list[sqlite3.Row]:
    """Up to `count` entries, newest first, of those older than the entry `before`."""
    return (
        connection()
        .execute(
            "SELECT * FROM entry WHERE ? IS NULL OR id < ? ORDER BY id DESC LIMIT ?",
            (before, before, count),
        )
        .fetchall()
    )


def count() -> int:
    (number,) = connection().execute("SELECT count(*) FROM entry").fetchone()
    return number
