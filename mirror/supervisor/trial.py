"""A reloaded configuration is on trial until everybody serves under it.

Rules:
1. What was proven last is kept, so that one that turns out wrong changes nothing: there is always
   a configuration to go back to. Reloading again during a trial does not move it.
2. A process blames the configuration when it ends by itself before it served, or never served in
   time. One that somebody else killed while it started does not, unless it was a successor: its
   former is still in place, and going back costs nothing.

Does not: start, drain or count processes; `supervisor.Supervisor` does.
Runs in: supervisor. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from mirror.config import Config
from mirror.supervisor.posts import Child, Phase, Post


class Trial:
    """`config` is what processes are started with; `proven` is what they have served under."""

    def __init__(self, config: Config, workers: int) -> None:
        self.config = config
        self._proven = config
        self._proven_workers = workers

    @property
    def is_running(self) -> bool:
        return self.config is not self._proven

    def begin(self, config: Config, workers_before: int) -> None:
        """Try `config`; `workers_before` is how many workers a failure leads back to."""
        if not self.is_running:
            self._proven_workers = workers_before
        self.config = config

    def is_blamed(self, post: Post, child: Child, code: int) -> bool:
        """Say whether the end of `child` with exit `code` speaks against the configuration."""
        if not self.is_running or child.config is not self.config:
            return False
        if child is post.successor:
            return True
        return child.phase is Phase.STARTING and (code > 0 or child.is_killed)

    def has_passed(self, posts: Iterable[Post]) -> bool:
        """Say whether every post is filled by a ready process of this configuration."""
        return self.is_running and all(
            post.child is not None
            and post.child.phase is Phase.READY
            and post.child.config is self.config
            for post in posts
        )

    def succeed(self) -> None:
        self._proven = self.config

    def fail(self) -> int:
        """Go back to what was proven; return how many workers there were."""
        self.config = self._proven
        return self._proven_workers

    def __repr__(self) -> str:
        return f"<Trial {'running' if self.is_running else 'over'}>"
