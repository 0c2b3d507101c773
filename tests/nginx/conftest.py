"""What the tests of nginx's processes share: applications that wait for their test."""

from __future__ import annotations

from directives.gate import background, gate

__all__ = ["background", "gate"]
