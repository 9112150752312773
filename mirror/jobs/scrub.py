"""The scrub: every stored byte is read and hashed again, at a byte rate, for as long as we run.

Rules:
1. The blob checked longest ago comes first, nothing sooner than `[scrub] every`; where it was
   stands in the index (`store.scrubbing`), so that a restart goes on.
2. It keeps `[scrub] rate`; each file counts for at least `FILE_COST_BYTES`, so that many small ones
   cost neither the disk's seeks nor the interpreter. While fills are under way it goes at
   `BUSY_SHARE` of that: misses need the disk.
3. A pass begins with the first blob that is due and is over when everything stored has been hashed
   since then: by the scrub, for a request, or as it was published.
4. What cannot be told (a file that keeps changing, or may not be read) is told as such and left
   alone for `UNTOLD_S`; until it can be, no pass ends.

Units: bytes, seconds; `_at` Unix seconds.
Does not: fetch anew what it condemns (`fill.healing` is told by the store).
Runs in: keeper, in a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from mirror import config
from mirror.clock import Clock
from mirror.errors import StoreError
from mirror.events import EventLog
from mirror.jobs.pace import Pace
from mirror.store.attesting import Verdict
from mirror.store.scrubbing import Due

# A seek and a short read cost a disk about as much as a megabyte in a row, and each file costs the
# interpreter 0.2 ms: at 12 MiB/s these are 48 files a second, 1 % of a core.
FILE_COST_BYTES: Final = 1 << 18
BUSY_SHARE: Final = 0.25
PAGE_ROWS: Final = 256
NOTE_EVERY_S: Final = 2.0  # what a crash costs: so much is looked at twice
IDLE_S: Final = 60.0
TROUBLE_S: Final = 10.0  # after an index that cannot be read
UNTOLD_S: Final = 3600.0
UNTOLD_MAX: Final = 4096  # remembered; of more, the first are looked at again sooner
UNTOLD_SHOWN: Final = 20  # an event each; of a store that became somebody else's, all are untold
RATE_OVER_S: Final = 10.0
_SHORTEST_WAIT_S: Final = 0.002
_FUTURE_MS: Final = 3_600_000  # clocks of one machine differ by less


class ScrubStore(Protocol):
    """`store.scrubbing.Scrubber`."""

    def due(self, until_ms: int, after: Due | None, limit: int) -> list[Due]: ...

    def look(self, due: Due, progress: Callable[[int], None]) -> Verdict | None: ...

    def note(self, good: list[Due]) -> None: ...

    def distrust_after(self, at_ms: int) -> None: ...

    def oldest_check_ms(self) -> int | None: ...

    def now_ms(self) -> int: ...

    def pass_note(self) -> str: ...

    def note_pass(self, note: str) -> None: ...


class ScrubTally(Protocol):
    """Counts for ever. `accounting.keeper_totals`."""

    def scrubbed(self, blobs: int, size_bytes: int) -> None: ...

    def scrub_found(self, blobs: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubFigures:
    """What operators see. `pass_*` are of the last full pass; None: there was none, or no blob."""

    is_reading: bool
    bytes_per_s: float
    blobs: int  # looked at since this keeper started
    size_bytes: int
    found: int
    undecided: int
    pass_began_at: float | None  # of the one that is under way
    pass_ended_at: float | None
    pass_duration_s: float | None


@dataclass(frozen=True, slots=True)
class _Passes:
    """Times in Unix ms; 0: none."""

    began_ms: int = 0
    ended_ms: int = 0
    took_ms: int = 0

    @classmethod
    def of(cls, note: str) -> _Passes:
        words = note.split()
        if len(words) != 3 or not all(word.isdecimal() for word in words):
            return cls()
        return cls(*map(int, words))

    @property
    def note(self) -> str:
        return f"{self.began_ms} {self.ended_ms} {self.took_ms}"


class _StoppedError(Exception):
    """The scrub was told to end in the middle of a file."""


class Scrub:
    """Runs from `start` to `close`. `is_busy` is asked from its thread and must not wait."""

    def __init__(
        self,
        store: ScrubStore,
        settings: config.Scrub,
        clock: Clock,
        log: EventLog,
        tally: ScrubTally,
        *,
        is_busy: Callable[[], bool] = lambda: False,
        trouble_s: float = TROUBLE_S,
    ) -> None:
        self._trouble_s = trouble_s
        self._store = store
        self._every_ms = int(settings.every * 1000)
        self._clock = clock
        self._log = log
        self._tally = tally
        self._is_busy = is_busy
        self._pace = Pace(settings.rate)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scrub", daemon=True)
        self._passes = _Passes()
        self._good: list[Due] = []
        self._untold: dict[bytes, float] = {}  # digest -> until when it is left alone, in order
        self._noted_at_s = clock.monotonic()
        self._window_at_s = clock.monotonic()
        self._window_bytes = 0
        self._bytes_per_s = 0.0
        self._is_in_trouble = False
        self._blobs = self._bytes = self._found = self._undecided = 0

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End within one step of reading; what was checked is noted. Waits for the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def figures(self) -> ScrubFigures:
        """Return what operators see; waits for nobody."""
        passes = self._passes
        idle_s = self._clock.monotonic() - self._window_at_s
        is_reading = idle_s < 2 * RATE_OVER_S and self._bytes > 0
        return ScrubFigures(
            is_reading=is_reading,
            bytes_per_s=self._bytes_per_s if is_reading else 0.0,
            blobs=self._blobs,
            size_bytes=self._bytes,
            found=self._found,
            undecided=self._undecided,
            pass_began_at=passes.began_ms / 1000 if passes.began_ms else None,
            pass_ended_at=passes.ended_ms / 1000 if passes.ended_ms else None,
            pass_duration_s=passes.took_ms / 1000 if passes.ended_ms else None,
        )

    def __repr__(self) -> str:
        return f"<Scrub {self._blobs} blobs, {self._found} found>"

    def _run(self) -> None:
        try:
            self._load_passes()
            while not self._stop.is_set():
                self._stop.wait(self._round())
        except _StoppedError:
            pass
        except Exception as exc:  # noqa: BLE001 - the edge of a job: the keeper goes on
            self._log.error("scrub-crashed", error=repr(exc))
        finally:
            self._note()

    def _load_passes(self) -> None:
        try:
            self._passes = _Passes.of(self._store.pass_note())
        except StoreError:
            self._passes = _Passes()  # the index is made anew, and the passes with it

    def _round(self) -> float:
        """Look at what is due; return how long to rest."""
        try:
            now_ms = self._store.now_ms()
            self._store.distrust_after(now_ms + _FUTURE_MS)
            self._look_at_due(now_ms - self._every_ms)
            self._note()
            self._end_pass()
            return self._rest_s()
        except StoreError as exc:
            self._tell_trouble(exc)
            return self._trouble_s

    def _look_at_due(self, until_ms: int) -> None:
        now_s = self._clock.monotonic()
        self._untold = {digest: s for digest, s in self._untold.items() if s > now_s}
        last: Due | None = None
        while page := self._store.due(until_ms, last, PAGE_ROWS):
            self._begin_pass()
            for due in page:
                self._look(due)
            last = page[-1]

    def _look(self, due: Due) -> None:
        if self._stop.is_set():
            raise _StoppedError
        if due.digest in self._untold:
            return
        try:
            verdict = self._store.look(due, self._read)
        except StoreError as exc:
            self._leave(due, exc)
            return
        if verdict is None:
            self._good.append(due)
        if verdict in (Verdict.CONDEMNED, Verdict.LOST):
            self._found += 1
            self._tally.scrub_found(1)
        self._blobs += 1
        self._tally.scrubbed(1, due.attestation.size)
        self._wait_for(max(0, FILE_COST_BYTES - due.attestation.size))
        if self._clock.monotonic() >= self._noted_at_s + NOTE_EVERY_S:
            self._note()

    def _leave(self, due: Due, error: StoreError) -> None:
        """Rule 4."""
        self._undecided += 1
        if len(self._untold) < UNTOLD_SHOWN:
            self._log.warning("not-scrubbed", digest=due.digest.hex(), reason=str(error))
        if len(self._untold) >= UNTOLD_MAX:
            del self._untold[next(iter(self._untold))]
        self._untold[due.digest] = self._clock.monotonic() + UNTOLD_S
        self._wait_for(FILE_COST_BYTES)

    def _read(self, nbytes: int) -> None:
        """Account for a step of reading, and pause as the rate demands."""
        if self._clock.monotonic() > self._window_at_s + 2 * RATE_OVER_S:  # it rested
            self._window_at_s, self._window_bytes = self._clock.monotonic(), 0
        self._bytes += nbytes
        self._window_bytes += nbytes
        self._wait_for(nbytes)
        now_s = self._clock.monotonic()
        if now_s >= self._window_at_s + RATE_OVER_S:
            self._bytes_per_s = self._window_bytes / (now_s - self._window_at_s)
            self._window_at_s, self._window_bytes = now_s, 0

    def _wait_for(self, nbytes: int) -> None:
        share = BUSY_SHARE if self._is_busy() else 1.0
        wait_s = self._pace.spend(nbytes, self._clock.monotonic(), share=share)
        # Shorter waits add up until they are worth a wake-up.
        if wait_s >= _SHORTEST_WAIT_S and self._stop.wait(wait_s):
            raise _StoppedError

    def _note(self) -> None:
        good, self._good = self._good, []
        self._noted_at_s = self._clock.monotonic()
        if not good:
            return
        try:
            self._store.note(good)
            self._is_in_trouble = False
        except StoreError as exc:  # they are looked at again
            self._tell_trouble(exc)

    def _tell_trouble(self, error: StoreError) -> None:
        """Once, until something could be noted again: a full disk stays full for long."""
        if not self._is_in_trouble:
            self._log.warning("scrub-waits", reason=str(error))
        self._is_in_trouble = True

    def _begin_pass(self) -> None:
        if not self._passes.began_ms:
            now_ms = self._store.now_ms()
            self._keep(_Passes(now_ms, self._passes.ended_ms, self._passes.took_ms))

    def _end_pass(self) -> None:
        began_ms, oldest_ms = self._passes.began_ms, self._store.oldest_check_ms()
        if began_ms and (oldest_ms is None or oldest_ms >= began_ms):
            now_ms = self._store.now_ms()
            self._keep(_Passes(0, now_ms, max(0, now_ms - began_ms)))
            self._log.info(
                "scrub-pass-ended",
                seconds=self._passes.took_ms / 1000,
                blobs=self._blobs,
                found=self._found,
            )

    def _keep(self, passes: _Passes) -> None:
        self._passes = passes
        self._store.note_pass(passes.note)

    def _rest_s(self) -> float:
        """Until the next blob is due, or there may be news."""
        longest_s = min(IDLE_S, self._every_ms / 1000)
        oldest_ms = self._store.oldest_check_ms()
        if oldest_ms is None:
            return longest_s
        due_in_s = (oldest_ms + self._every_ms - self._store.now_ms()) / 1000
        # At least a moment: a blob that could not be told stays the oldest.
        return min(longest_s, max(1.0, due_in_s))
