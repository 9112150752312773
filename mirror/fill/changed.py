"""The error that says: upstream has another version than the one whose bytes are here.

Runs in: keeper. Pure.
"""

from __future__ import annotations

from mirror.errors import UpstreamError


class ChangedUpstreamError(UpstreamError):
    """What is here cannot be completed; whoever has nothing of it yet may begin anew."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(source, f"changed upstream: {reason}", retryable=False, status=503)
