"""The built-in module that the Rust side gives to the shim: inside an nginx worker only."""

def log(level: int, line: str) -> None:
    """One line to nginx's error log at nginx's `level` (emerg 1 ... error 4, warn 5 ... debug 8),
    with the context of the request that the calling thread runs, if any."""

def unfinished() -> None:
    """The calling thread has begun a line: at its request's end LogStream.release() is called."""
