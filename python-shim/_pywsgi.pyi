"""The built-in module that the Rust side provides to the shim, only inside an nginx worker."""

from typing import Any

def log(code: str, text: str) -> None:
    """Writes a message to nginx's error log, with the request that the calling thread runs, if any.
    `code` is a name of src/bridge/code.rs."""

def report(code: str, what: str, traceback: str) -> None:
    """Writes a message about an exception; its traceback goes where the output of its application
    goes."""

def say(
    level: int,
    logger: str,
    lines: str,
    text: str | None = None,
    message: str | None = None,
    traceback: str | None = None,
) -> None:
    """What an application says, at nginx's `level`: `lines` for the error log, `text` (or else
    `lines`) for another log, `message` and `traceback` for JSON. Without `message` each line is a
    record."""

def forms(level: int) -> int:
    """In which forms what an application says at nginx's `level` is wanted: lines 1, text 2,
    JSON 4."""

def status() -> str | None:
    """The numbers of all workers as JSON; None if they share no memory."""

def unfinished() -> None:
    """The calling thread has an unfinished line: LogStream.release() is called at request end."""

def log_last(code: str, line: str) -> None:
    """Writes one line to standard error, with what the calling thread runs: the worker exits now,
    and its event loop cannot write it."""

def wake_main() -> None:
    """Wakes Python's main thread to run pending signal handlers."""

def hooks_changed() -> None:
    """threading.settrace() or threading.setprofile() was called."""

def want_finished() -> None:
    """From now on requests that are over are kept for next_finished()."""

def next_finished() -> dict[str, Any] | None:
    """Waits for the next one: the arguments of FinishedRequest; None as the worker exits."""

def dropped_finished() -> int:
    """How many were dropped since the last call, because too many waited."""

def end_finished() -> None:
    """The worker exits."""

def restart_worker() -> bool:
    """Has this worker replaced; false if it is none."""
