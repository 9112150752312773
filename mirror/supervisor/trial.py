"""A reloaded configuration is on trial until everybody serves under it.

Rules:
1. What was proven last is kept, so that one that turns out wrong changes nothing: there is always
   a configuration to go back to. Reloading again during a trial does not move it.
2. A process blames the configuration when it ends by itself before it served, or never served in
   time. One that somebody else killed while it started does not, unless it was a successor: its
   former is still in place, and going back costs nothing.
3. The TLS credentials are on trial with the configuration that names them. A changed certificate
   alone is not: it has completed a handshake before anybody is started with it.

Does not: start, drain or count processes; `supervisor.Supervisor` does.
Runs in: supervisor. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mirror.config import Config
from mirror.supervisor.posts import Child, Phase, Post

if TYPE_CHECKING:
    from mirror.supervisor.tls_context import Credentials


class Trial:
    """`config` and `tls` are what processes are started with; `_proven` is what they have served
    under."""

    def __init__(self, config: Config, workers: int, tls: Credentials | None = None) -> None:
        self.config = config
        self.tls = tls
        self._proven = config
        self._proven_tls = tls
        self._proven_workers = workers

    @property
    def is_running(self) -> bool:
        return self.config is not self._proven

    def begin(self, config: Config, workers_before: int, tls: Credentials | None = None) -> None:
        """Try `config`; `workers_before` is how many workers a failure leads back to."""
        if not self.is_running:
            self._proven_workers = workers_before
        self.config = config
        self.tls = tls

    def renew(self, tls: Credentials) -> None:
        """Start workers with `tls` from here on; see rule 3."""
        self.tls = tls
        if not self.is_running:
            self._proven_tls = tls

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
        self._proven_tls = self.tls

    def fail(self) -> int:
        """Go back to what was proven; return how many workers there were."""
        self.config = self._proven
        self.tls = self._proven_tls
        return self._proven_workers

    def __repr__(self) -> str:
        return f"<Trial {'running' if self.is_running else 'over'}>"
