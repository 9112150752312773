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
4. A child that refuses to start (`Exit.REFUSED`) before the mirror was ever ready ends the mirror:
   the cause is configuration. Later it is retried, because serving hits goes on meanwhile.
5. Addresses and directories cannot change by reload: sockets and records are theirs for life.
6. When the files of the certificate change (`tls_watch`), the workers are replaced as by a reload;
   the keeper, which knows no TLS, stays.

Does not: accept, parse, or import what the keeper needs (aiohttp), so that forks stay small.
Runs in: supervisor.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections import deque
from types import FrameType

from mirror.config import Config
from mirror.config_rules import MAX_WORKERS
from mirror.config_sources import keep_values
from mirror.errors import ConfigError
from mirror.supervisor.children import Exit, is_runnable
from mirror.supervisor.crew import Crew, Seams, Station
from mirror.supervisor.listeners import Listeners
from mirror.supervisor.posts import KEEPER_LANE, RELIEF_AFTER_S, Child, Phase, Post
from mirror.supervisor.tls_context import Credentials
from mirror.supervisor.trial import Trial

IDLE_POLL_S = 0.25  # how late a silent process may be noticed beyond its limit
BUSY_POLL_S = 0.05  # while somebody starts or drains
_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGCHLD", "SIGTTIN", "SIGTTOU")
_FIXED_AT_START = (
    "serve.listen",
    "serve.tls_listen",
    "control.listen",
    "store.path",
    "state.path",
)


class Supervisor:
    """Owns the posts. Use once: `run` returns the exit code of the command."""

    def __init__(self, config: Config, seams: Seams) -> None:
        self._trial = Trial(config, worker_count(config), seams.tls)
        self._seams = seams
        self._events = seams.events
        self._crew = Crew(seams)
        self._certificates = seams.certificates
        self._keeper = Post(lane=KEEPER_LANE)
        self._posts = [Post(lane=lane) for lane in range(worker_count(config))]
        self._rolling: deque[Post] = deque()
        self._is_stopping = False
        self._was_ready = False
        self._exit_code = 0
        self._turned_at = 0.0

    def run(self) -> int:
        """Start everything and stay until told to stop."""
        wake_r, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for name in _SIGNALS:
            signal.signal(getattr(signal, name), _ignore)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        poller = select.poll()
        poller.register(wake_r, select.POLLIN)
        try:
            self._turn()
            while not self._is_stopping or self._crew:
                poller.poll(self._sleep_s() * 1000)
                self._take_signals(wake_r)
                self._turn()
        finally:
            signal.set_wakeup_fd(-1)
            self._kill_all()
        self._events.info("stopped", exit_code=self._exit_code)
        return self._exit_code

    def _turn(self) -> None:
        now = self._seams.clock.monotonic()
        for child, code in self._crew.reap():
            self._bury(child, code, now)
        self._notice_ready(now)
        self._judge_silent(now)
        self._kill_late(now)
        if self._is_stopping:
            self._stop_keeper_last()
        else:
            self._look_at_certificate()
            self._start_due(now)
            self._roll()

    def _sleep_s(self) -> float:
        is_busy = self._rolling or self._is_stopping or self._is_stale(self._keeper)
        is_busy = is_busy or any(child.phase is not Phase.READY for child in self._crew)
        limit_s = BUSY_POLL_S if is_busy else IDLE_POLL_S
        now = self._seams.clock.monotonic()
        due_s = [post.restart_at - now for post in self._all_posts() if post.restart_at is not None]
        return limit_s if self._is_stopping else max(0.0, min([limit_s, *due_s]))

    # Signals

    def _take_signals(self, wake_r: int) -> None:
        numbers = b""
        with contextlib.suppress(BlockingIOError):
            numbers = os.read(wake_r, 512)
        for number in numbers:
            self._take_signal(signal.Signals(number))

    def _take_signal(self, number: signal.Signals) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(number)
        elif number == signal.SIGHUP and not self._is_stopping:
            self._reload()
        elif number in (signal.SIGTTIN, signal.SIGTTOU) and not self._is_stopping:
            self._resize(len(self._posts) + (1 if number == signal.SIGTTIN else -1))

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
            config, differing = keep_values(config, self._trial.config, _FIXED_AT_START)
            tls = self._certificates.load(config.serve)
            check_listeners(self._seams.listeners, tls)
        except ConfigError as exc:
            self._events.error("reload-refused", key=exc.key, reason=exc.message)
            return
        if differing:
            self._events.warning("reload-needs-restart", keys=differing)
        self._events.info("reloading", workers=worker_count(config))
        self._trial.begin(config, len(self._posts), tls)
        self._resize(worker_count(config))
        self._rolling.extend(post for post in self._posts if post not in self._rolling)

    def _undo_reload(self, child: Child, code: int, now: float) -> None:
        """Put the former configuration back in force: `child` could not start with the other."""
        self._events.error("reload-undone", name=child.name, ended=_ended(code))
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

    def _look_at_certificate(self) -> None:
        changed = self._certificates.look(self._trial.config.serve, self._trial.tls)
        if changed is not None:
            self._trial.renew(changed)
        # Also those whose successor with the changed one did not live.
        if not self._rolling and not self._trial.is_running:
            self._rolling.extend(post for post in self._posts if self._is_stale(post))

    def _bury(self, child: Child, code: int, now: float) -> None:
        post = next((p for p in self._all_posts() if child in (p.child, p.successor)), None)
        if child.phase is Phase.DRAINING or post is None:
            self._events.info("process-drained", name=child.name, ended=_ended(code))
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
            self._events.error("successor-failed", name=child.name, ended=_ended(code))
            post.successor = None
            self._rolling.clear()
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
        self._events.error(
            "process-died",
            name=child.name,
            child_pid=child.pid,
            ended=_ended(code),
            restart_in_s=delay_s,
        )

    def _notice_ready(self, now: float) -> None:
        for child in self._crew:
            if child.phase is Phase.STARTING and self._crew.is_ready(child):
                child.phase = Phase.READY
                took_s = round(now - child.started_at, 3)
                self._events.info(
                    "process-ready", name=child.name, child_pid=child.pid, took_s=took_s
                )
        if not self._was_ready and all(_is_filled(post) for post in self._all_posts()):
            self._was_ready = True
            listeners = self._seams.listeners
            addresses = {"listen": listeners.bound, "tls_listen": listeners.bound_tls}
            self._events.info("ready", **addresses, workers=len(self._posts))
        if self._trial.has_passed(self._all_posts()):
            self._trial.succeed()
            self._events.info("reloaded", workers=len(self._posts))

    def _judge_silent(self, now: float) -> None:
        # A turn that comes late means that this process was stopped or starved, and its children
        # may have been too: their beats are judged in the next turn.
        was_late = now - self._turned_at > RELIEF_AFTER_S / 2
        self._turned_at = now
        if not was_late:
            self._relieve_silent(now)
            self._kill_silent(now)

    def _relieve_silent(self, now: float) -> None:
        for post in self._posts:
            child = post.child
            if child is None or post.successor is not None or post in self._rolling:
                continue
            if self._is_stopping or not child.needs_relief(self._crew.beat_at(child), now):
                continue
            # One that wants to run and may not is short of a core; a second process would not help.
            if not is_runnable(child.pid):
                self._events.warning("process-silent", name=child.name)
                self._rolling.appendleft(post)

    def _kill_silent(self, now: float) -> None:
        for child in self._crew:
            beat_at = self._crew.beat_at(child)
            if not child.is_killed and child.is_hung(beat_at, now):
                silent_s = round(now - max(beat_at, child.started_at), 1)
                self._events.error("process-hung", name=child.name, silent_s=silent_s)
                self._crew.kill(child)

    def _kill_late(self, now: float) -> None:
        for child in self._crew:
            if child.kill_at is not None and now >= child.kill_at and not child.is_killed:
                self._events.warning("drain-deadline", name=child.name)
                self._crew.kill(child)

    def _start_due(self, now: float) -> None:
        for post in self._all_posts():
            if post.restart_at is not None and post.restart_at <= now and post.child is None:
                post.restart_at = None
                post.child = self._start(post)

    def _roll(self) -> None:
        """Replace one worker at a time, the keeper after all of them."""
        if not self._rolling:
            if self._keeper.child is not None and self._is_stale(self._keeper):
                self._crew.drain(self._keeper.child)
            return
        post = self._rolling[0]
        if post.child is None and post.successor is None:
            self._rolling.popleft()  # what starts in its place has the current configuration
        elif post.successor is None:
            post.successor = self._start(post)
        elif post.successor.phase is Phase.READY:
            former, post.child, post.successor = post.child, post.successor, None
            post.restart_at = None  # the former may have died meanwhile
            self._rolling.popleft()
            if self._is_stale(post):  # another reload came while it started
                self._rolling.append(post)
            if former is not None:
                self._crew.drain(former)

    def _stop_keeper_last(self) -> None:
        keeper = self._keeper.child
        if keeper is not None and all(child.lane == KEEPER_LANE for child in self._crew):
            self._crew.drain(keeper)

    def _start(self, post: Post) -> Child:
        if post.lane == KEEPER_LANE:
            return self._crew.start_keeper(post, self._trial.config, is_first=not self._was_ready)
        return self._crew.start_worker(post, self._trial.config, self._station_of(post))

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


def check_listeners(listeners: Listeners, tls: Credentials | None) -> None:
    """Raises ConfigError when connections to a socket would need a certificate that is absent.

    The rules of the configuration do not know the sockets that were inherited.
    """
    if listeners.bound_tls and tls is None:
        allowed = f"a PEM file: {', '.join(listeners.bound_tls)} is for TLS"
        raise ConfigError("serve.tls.certificate", "", allowed)


def worker_count(config: Config) -> int:
    """Return how many workers `config` asks for; 0 in it means one per core we may use."""
    return config.serve.workers or min(len(os.sched_getaffinity(0)), MAX_WORKERS)


def _is_filled(post: Post) -> bool:
    return post.child is not None and post.child.phase is Phase.READY


def _ended(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit {code}"


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Python's own handler: without one the wake-up pipe gets nothing."""
