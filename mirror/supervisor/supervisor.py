"""The supervisor: keeps the workers and the keeper running. Single-threaded, no event loop.

Rules:
1. It sleeps in one `poll` on the signal wake-up pipe; every change happens in one turn after it:
   signals, deaths, readiness, silence, deadlines, starts.
2. A worker is replaced by starting its successor on the same sockets first; only a ready successor
   makes the former drain. A successor that dies leaves the former in place. So a worker that falls
   silent is relieved early, which costs nothing should it recover, and killed late.
3. SIGTERM or SIGINT: the workers drain, then the keeper ends; a second one, or a deadline, kills.
   SIGHUP: read the configuration again and replace everybody. A wrong one changes nothing: it is
   refused when read, or, when a process cannot start with it, everybody goes back (`trial`).
   SIGTTIN, SIGTTOU: one worker more, one fewer. A removed lane's sockets go to the last lane left.
   SIGUSR2: the program on disk takes over in this process (`upgrade`). It adopts the children that
   there are and replaces them as by a reload; when they cannot live beside its own (`handover`),
   they drain first, and connections wait in the sockets meanwhile.
4. A child that refuses to start (`Exit.REFUSED`) before the mirror was ever ready ends the mirror:
   the cause is configuration. Later it is retried, because serving hits goes on meanwhile.
5. Addresses and directories cannot change by reload: sockets and records are theirs for life.
6. When the files of the certificate change (`tls_watch`), the workers are replaced as by a reload;
   the keeper, which knows no TLS, stays.
7. A child that cannot be forked (no memory, no descriptors) is tried again; nobody else is touched.

Does not: accept, parse, or import what the keeper needs (aiohttp), so that forks stay small.
Runs in: supervisor.
"""

from __future__ import annotations

import os
import signal
from collections import deque

from mirror.config import Config
from mirror.config_rules import MAX_WORKERS
from mirror.errors import ConfigError, MirrorError
from mirror.supervisor.children import Exit
from mirror.supervisor.crew import Crew, Seams, Station
from mirror.supervisor.fixed import check_listeners, fixed_values, keep_fixed
from mirror.supervisor.posts import ALARM_DEATHS, KEEPER_LANE, Child, Phase, Post, ended
from mirror.supervisor.signals import SignalPipe
from mirror.supervisor.silence import Silence
from mirror.supervisor.succession import Succession
from mirror.supervisor.trial import Trial

IDLE_POLL_S = 0.25  # how late a silent process may be noticed beyond its limit
BUSY_POLL_S = 0.05  # while somebody starts or drains
UNSTARTABLE_S = 1.0  # until what could not be forked is tried again
ROLL_AGAIN_S = (1.0, 2.0, 5.0, 15.0, 60.0)  # until a successor is tried again, by failures in a row


class Supervisor:
    """Owns the posts. Use once: `run` returns the exit code of the command."""

    def __init__(self, config: Config, seams: Seams) -> None:
        self._trial = Trial(config, worker_count(config), seams.tls)
        self._seams = seams
        self._events = seams.events
        self._signals = SignalPipe()
        self._crew = Crew(seams)
        self._certificates = seams.certificates
        self._keeper = Post(lane=KEEPER_LANE)
        self._posts = [Post(lane=lane) for lane in range(worker_count(config))]
        self._rolling: deque[Post] = deque()
        self._is_stopping = False
        self._was_ready = False
        self._exit_code = 0
        self._silence = Silence(self._crew, seams.events)
        self._roll_failures = 0
        self._roll_at = 0.0
        self._succession = Succession(self._crew, seams)
        if seams.upgrading.taken_over is not None:
            self._take_over()

    def run(self) -> int:
        """Start everything and stay until told to stop."""
        self._signals.open()
        try:
            self._turn()
            while not self._is_stopping or self._crew:
                self._signals.wait(self._sleep_s())
                for number in self._signals.taken():
                    self._take_signal(number)
                self._turn()
        finally:
            self._signals.close()
            self._succession.abandon()
            self._kill_all()
        self._events.info("stopped", exit_code=self._exit_code)
        return self._exit_code

    def _turn(self) -> None:
        now = self._seams.clock.monotonic()
        for child, code in self._crew.reap():
            self._bury(child, code, now)
        self._notice_ready(now)
        self._silence.kill_late(now)
        if self._is_stopping:
            self._judge_silent(now)
            self._stop_keeper_last()
        elif self._succession.is_clearing:
            self._stop_keeper_last()  # nobody starts before all of the former program are gone
        else:
            self._judge_silent(now)
            self._look_at_certificate(now)
            self._start_due(now)
            self._roll(now)
            self._hand_over(now)

    def _sleep_s(self) -> float:
        is_busy = self._rolling or self._is_stopping or self._is_stale(self._keeper)
        is_busy = is_busy or self._succession.is_trying
        is_busy = is_busy or any(child.phase is not Phase.READY for child in self._crew)
        limit_s = BUSY_POLL_S if is_busy else IDLE_POLL_S
        now = self._seams.clock.monotonic()
        due_s = [post.restart_at - now for post in self._all_posts() if post.restart_at is not None]
        return limit_s if self._is_stopping else max(0.0, min([limit_s, *due_s]))

    # Signals

    def _take_signal(self, number: signal.Signals) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(number)
        elif number == signal.SIGHUP and not self._is_stopping:
            self._reload()
        elif number in (signal.SIGTTIN, signal.SIGTTOU) and not self._is_stopping:
            self._resize(len(self._posts) + (1 if number == signal.SIGTTIN else -1))
        elif number == signal.SIGUSR2 and not self._is_stopping:
            self._succession.begin()

    def _stop(self, number: signal.Signals) -> None:
        if self._is_stopping:
            self._events.warning("stop-forced", signal=number.name)
            self._exit_code = 1
            self._kill_all()
            return
        self._events.info("draining", signal=number.name)
        self._begin_stop()

    def _begin_stop(self) -> None:
        self._is_stopping = True
        self._rolling.clear()
        for child in self._crew:
            if child.lane != KEEPER_LANE:
                self._crew.drain(child)

    def _reload(self) -> None:
        try:
            config = self._seams.reread()
            config, differing = keep_fixed(config, self._trial.config)
            tls = self._certificates.load(config.serve)
            check_listeners(self._seams.listeners, tls)
        except ConfigError as exc:
            self._events.error("reload-refused", key=exc.key, reason=exc.message)
            return
        if differing:
            self._events.warning("reload-needs-restart", keys=differing)
        self._events.info("reloading", workers=worker_count(config))
        self._trial.begin(config, len(self._posts), tls)
        self._roll_at = 0.0
        self._resize(worker_count(config))
        self._rolling.extend(post for post in self._posts if post not in self._rolling)

    def _undo_reload(self, child: Child, code: int, now: float) -> None:
        """Put the former configuration back in force: `child` could not start with the other."""
        self._events.error("reload-undone", name=child.name, ended=ended(code))
        workers = self._trial.fail()
        for post in self._posts:
            if post.successor is not None:
                self._crew.drain(post.successor)
                post.successor = None
        self._rolling.clear()
        self._resize(workers)
        stale = [post for post in self._posts if self._is_stale(post)]
        self._rolling.extend(post for post in stale if post not in self._rolling)
        for post in self._all_posts():
            if post.child is None and post.restart_at is not None:
                post.restart_at = now  # it waited because of the other configuration

    def _is_stale(self, post: Post) -> bool:
        child = post.child
        if child is None:
            return False
        if child.config is not self._trial.config:
            return True
        if post.lane == KEEPER_LANE:
            return False
        # The heir of removed lanes, whose successor with their sockets did not live.
        lacks_sockets = child.sockets_total < len(self._station_of(post).listening)
        return child.tls is not self._trial.tls or lacks_sockets

    def _resize(self, count: int) -> None:
        count = max(1, min(count, MAX_WORKERS))
        if count == len(self._posts):
            return
        self._events.info("workers-changed", workers=count, before=len(self._posts))
        removed, self._posts = self._posts[count:], self._posts[:count]
        self._posts += [Post(lane=lane) for lane in range(len(self._posts), count)]
        if removed:
            self._dismiss(removed)

    def _dismiss(self, removed: list[Post]) -> None:
        """Drain the workers of `removed` lanes and give their sockets to the last lane left."""
        for child in self._crew:
            if child.lane in [post.lane for post in removed]:
                self._crew.drain(child)
        # The last lane's next worker takes the removed lanes' sockets; until it is ready,
        # connections to them wait in their queues.
        heir = self._posts[-1]
        others = [post for post in self._rolling if post in self._posts and post is not heir]
        self._rolling = deque([heir, *others])
        if heir.successor is not None:  # started without the sockets that it inherits
            self._crew.drain(heir.successor)
            heir.successor = None

    # One turn

    def _look_at_certificate(self, now: float) -> None:
        changed = self._certificates.look(self._trial.config.serve, self._trial.tls)
        if changed is not None:
            self._trial.renew(changed)
        # Also those whose successor did not live.
        if not self._rolling and not self._trial.is_running and now >= self._roll_at:
            self._rolling.extend(post for post in self._posts if self._is_stale(post))

    def _bury(self, child: Child, code: int, now: float) -> None:
        post = next((p for p in self._all_posts() if child in (p.child, p.successor)), None)
        if child.phase is Phase.DRAINING or post is None:
            self._events.info("process-drained", name=child.name, ended=ended(code))
            if post is not None:
                post.child = None
                post.restart_at = now
        elif not self._is_stopping and self._trial.is_blamed(post, child, code):
            self._forget(post, child, now)
            self._undo_reload(child, code, now)
        elif code == Exit.REFUSED and not self._was_ready:
            self._events.error("start-refused", name=child.name)
            self._exit_code = 1
            self._begin_stop()
        elif child is post.successor:
            self._events.error("successor-failed", name=child.name, ended=ended(code))
            post.successor = None
            self._delay_roll(now)
        else:
            self._replace_dead(post, child, code, now)

    def _forget(self, post: Post, child: Child, now: float) -> None:
        if child is post.successor:
            post.successor = None
        else:
            post.child = None
            post.restart_at = now

    def _replace_dead(self, post: Post, child: Child, code: int, now: float) -> None:
        self._seams.page.count_restart(child.slot)
        delay_s = post.note_death(child, now)
        told: dict[str, object] = {"name": child.name, "child_pid": child.pid, "ended": ended(code)}
        if post.deaths > ALARM_DEATHS:
            self._events.info("process-died", **told, restart_in_s=delay_s)
        else:
            self._events.error("process-died", **told, restart_in_s=delay_s)
        if post.deaths == ALARM_DEATHS:
            self._events.error("process-keeps-dying", name=child.name, deaths=post.deaths)

    def _notice_ready(self, now: float) -> None:
        for child in self._crew:
            if child.phase is Phase.STARTING and self._crew.is_ready(child):
                child.phase, child.ready_at = Phase.READY, now
                took_s = round(now - child.started_at, 3)
                self._events.info(
                    "process-ready", name=child.name, child_pid=child.pid, took_s=took_s
                )
        for post in self._all_posts():
            if post.has_settled(now):
                self._events.info("process-settled", name=post.name)
        if not self._was_ready and all(post.is_filled for post in self._all_posts()):
            self._was_ready = True
            listeners = self._seams.listeners
            addresses = {"listen": listeners.bound, "tls_listen": listeners.bound_tls}
            self._events.info("ready", **addresses, workers=len(self._posts))
        if self._trial.has_passed(self._all_posts()):
            self._trial.succeed()
            self._events.info("reloaded", workers=len(self._posts))
        if all(post.is_filled and not self._is_stale(post) for post in self._all_posts()):
            self._succession.note_whole()

    def _judge_silent(self, now: float) -> None:
        kept = [] if self._is_stopping else self._posts
        judged = [post for post in kept if post not in self._rolling]
        self._rolling.extendleft(self._silence.judge(judged, now))

    def _start_due(self, now: float) -> None:
        for post in self._all_posts():
            if post.restart_at is not None and post.restart_at <= now and post.child is None:
                post.child = self._start(post)
                post.restart_at = now + UNSTARTABLE_S if post.child is None else None

    def _roll(self, now: float) -> None:
        """Replace one worker at a time, the keeper after all of them."""
        if not self._rolling:
            are_workers_ours = not any(self._is_stale(post) for post in self._posts)
            if self._keeper.child is not None and self._is_stale(self._keeper) and are_workers_ours:
                self._crew.drain(self._keeper.child)
            return
        post = self._rolling[0]
        if post.child is None and post.successor is None:
            self._rolling.popleft()  # what starts in its place has the current configuration
        elif post.successor is None:
            post.successor = self._start(post)
            if post.successor is None:
                self._delay_roll(now)
        elif post.successor.phase is Phase.READY:
            former, post.child, post.successor = post.child, post.successor, None
            post.restart_at = None  # the former may have died meanwhile
            self._rolling.popleft()
            self._roll_failures = 0
            if self._is_stale(post):  # another reload came while it started
                self._rolling.append(post)
            if former is not None:
                self._crew.drain(former)

    def _stop_keeper_last(self) -> None:
        keeper = self._keeper.child
        if keeper is not None and all(child.lane == KEEPER_LANE for child in self._crew):
            self._crew.drain(keeper)

    def _delay_roll(self, now: float) -> None:
        """The former go on; what did not live is tried again, later each time."""
        self._rolling.clear()
        self._roll_at = now + ROLL_AGAIN_S[min(self._roll_failures, len(ROLL_AGAIN_S) - 1)]
        self._roll_failures += 1

    def _start(self, post: Post) -> Child | None:
        """Return None when the machine has no room for a process (rule 7)."""
        config = self._trial.config
        try:
            if post.lane == KEEPER_LANE:
                child = self._crew.start_keeper(post, config, is_first=not self._was_ready)
            else:
                child = self._crew.start_worker(post, config, self._station_of(post))
        except (OSError, MirrorError) as exc:
            if not post.is_unstartable:
                self._events.error("process-not-started", name=post.name, reason=str(exc))
            post.is_unstartable = True
            return None
        post.is_unstartable = False
        return child

    # Upgrade

    def _take_over(self) -> None:
        """Give the children of the former program their posts, and have them replaced."""
        self._was_ready = self._succession.was_ready
        for child in self._succession.adopt(self._trial.config):
            post = next((post for post in self._all_posts() if post.lane == child.lane), None)
            if child.phase is Phase.DRAINING:
                continue
            if post is None or post.child is not None:
                self._crew.drain(child)
            else:
                post.child, post.restart_at = child, None
        self._rolling.extend(post for post in self._posts if post.child is not None)
        if self._succession.is_clearing:
            for post in self._rolling:
                if post.child is not None:
                    self._crew.drain(post.child)
            self._rolling.clear()

    def _hand_over(self, now: float) -> None:
        """Let the program on disk take over, when its trial has passed and nobody is replaced."""
        if not self._succession.is_passed(now) or self._rolling or self._trial.is_running:
            return
        # The successor would start a keeper beside one that still holds the store.
        if any(post.is_draining for post in self._all_posts()):
            return
        with self._signals.held_back() as late:
            for number in late:  # the successor would never hear of it
                self._take_signal(number)
            if not late:
                fixed = fixed_values(self._trial.config)
                self._succession.hand_over(fixed, was_ready=self._was_ready)

    def _station_of(self, post: Post) -> Station:
        listeners = self._seams.listeners
        listening = list(listeners.lane(post.lane))
        if post is self._posts[-1]:
            for lane in range(post.lane + 1, listeners.opened):
                listening += [item for item in listeners.lane(lane) if item not in listening]
        return Station(listening=tuple(listening), tls=self._trial.tls)

    def _kill_all(self) -> None:
        for child in self._crew:
            self._crew.kill(child)

    def _all_posts(self) -> list[Post]:
        return [*self._posts, self._keeper]


def worker_count(config: Config) -> int:
    """Return how many workers `config` asks for; 0 in it means one per core we may use."""
    return config.serve.workers or min(len(os.sched_getaffinity(0)), MAX_WORKERS)
