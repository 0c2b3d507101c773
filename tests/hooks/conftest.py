"""The functions that applications register: docs/hooks.md."""

from gate import background, gate
from protocols import asgi, protocol

__all__ = ["asgi", "background", "gate", "protocol"]
