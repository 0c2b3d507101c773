"""The built-in module that the Rust side provides to the shim, only inside an nginx worker."""

def log(level: int, line: str) -> None:
    """Writes one line to nginx's error log at nginx's `level` (emerg 1 ... error 4 ... debug 8),
    with the request that the calling thread runs, if any."""

def unfinished() -> None:
    """The calling thread has an unfinished line: LogStream.release() is called at request end."""

def log_last(line: str) -> None:
    """Writes one line to standard error, with what the calling thread runs: the worker exits now,
    and its event loop cannot write it."""

def wake_main() -> None:
    """Wakes Python's main thread to run pending signal handlers."""

def hooks_changed() -> None:
    """threading.settrace() or threading.setprofile() was called."""
