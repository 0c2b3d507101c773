"""The built-in module that the Rust side gives to the shim: inside an nginx worker only."""

def log(level: int, line: str) -> None:
    """One line to nginx's error log at nginx's `level` (emerg 1 ... error 4, warn 5 ... debug 8),
    with the context of the request that the calling thread runs, if any."""

def unfinished() -> None:
    """The calling thread has begun a line: at its request's end LogStream.release() is called."""

def log_last(line: str) -> None:
    """One line to the process's standard error, with what the calling thread does: the worker ends
    now, and its event loop does not come to writing it."""

def wake_main() -> None:
    """Has Python's main thread look whether a signal's handler is to run, if it waits."""

def hooks_changed() -> None:
    """threading.settrace() or threading.setprofile() was called."""
