"""Children whose heartbeat stopped, or who overstay their deadline.

Rules:
1. A worker that is silent a little gets a successor, which costs nothing should it recover; one
   that wants to run and may not is short of a core, and a second process would not help it.
2. Who is silent for long is killed, a draining child at its deadline. What it waited for a core
   meanwhile is not held against it (`starvation`).
3. A turn that comes late means that the supervisor was stopped or starved, and its children may
   have been too: their beats are judged in the next turn.

Units: seconds of the monotonic clock.
Does not: start anybody.
Runs in: supervisor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mirror.events import EventLog
from mirror.supervisor.children import is_runnable
from mirror.supervisor.crew import Crew
from mirror.supervisor.posts import RELIEF_AFTER_S, Post
from mirror.supervisor.starvation import Starvation


class Silence:
    """Judges once per turn."""

    def __init__(self, crew: Crew, events: EventLog) -> None:
        self._crew = crew
        self._events = events
        self._judged_at = 0.0
        self._starvation = Starvation()

    def judge(self, posts: Iterable[Post], now: float) -> list[Post]:
        """Kill who is hung; return those of `posts` whose worker wants relief."""
        was_late = now - self._judged_at > RELIEF_AFTER_S / 2
        self._judged_at = now
        if was_late:
            return []
        forgiven_s = self._forgiven_s(now)
        self._kill_hung(now, forgiven_s)
        return [post for post in posts if self._wants_relief(post, now, forgiven_s)]

    def kill_late(self, now: float) -> None:
        for child in self._crew:
            if child.kill_at is not None and now >= child.kill_at and not child.is_killed:
                self._events.warning("drain-deadline", name=child.name)
                self._crew.kill(child)

    def _forgiven_s(self, now: float) -> Mapping[int, float]:
        """Return how much of each child's silence it waited for a core, by pid."""
        self._starvation.keep({child.pid for child in self._crew})
        return {
            child.pid: self._starvation.forgiven_s(child.pid, self._crew.beat_at(child), now)
            for child in self._crew
        }

    def _wants_relief(self, post: Post, now: float, forgiven_s: Mapping[int, float]) -> bool:
        child = post.child
        if child is None or post.successor is not None:
            return False
        fair_now = now - forgiven_s.get(child.pid, 0.0)
        if not child.needs_relief(self._crew.beat_at(child), fair_now) or is_runnable(child.pid):
            return False
        self._events.warning("process-silent", name=child.name)
        return True

    def _kill_hung(self, now: float, forgiven_s: Mapping[int, float]) -> None:
        for child in self._crew:
            beat_at = self._crew.beat_at(child)
            if not child.is_killed and child.is_hung(beat_at, now - forgiven_s[child.pid]):
                silent_s = round(now - max(beat_at, child.started_at), 1)
                self._events.error("process-hung", name=child.name, silent_s=silent_s)
                self._crew.kill(child)
