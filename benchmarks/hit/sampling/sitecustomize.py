"""Samples the processes that a Python program forks: where their CPU time goes, line by line.

Rules:
1. Python imports this file at start when its folder is in PYTHONPATH; without `SAMPLES` nothing
   happens.
2. Only forked processes are sampled, once per tick of their CPU time (1 to 10 ms, as the kernel was
   built); what has been counted is written every `WRITTEN_EVERY` samples, as JSON, to
   `$SAMPLES/<pid>.json`.
3. A signal's handler runs between two instructions of Python. So the time of a call into C counts
   for the line that made it, and what the event loop did before it called back (reading, polling)
   for the first instruction of the callback: these are told apart as line 0.
4. A signal that comes while one is handled is not counted: the handler must never fail in the
   middle of the program that it samples.

Runs in: workers of a mirror that `benchmarks.hit.profile` started.
"""

from __future__ import annotations

import collections
import json
import os
import signal
from pathlib import Path
from types import FrameType

INTERVAL_S = 0.001  # rounded up to a tick by the kernel
WRITTEN_EVERY = 25
# In a function's code the first instructions are RESUME and, in closures, COPY_FREE_VARS before it.
_BEFORE_THE_FIRST_LINE = 4

_counts: collections.Counter[tuple[str, str, int]] = collections.Counter()


_is_handling = False


def _sample(_signal: int, frame: FrameType | None) -> None:
    global _is_handling  # a handler has nowhere else to keep it
    if frame is None or _is_handling:
        return
    _is_handling = True
    try:
        _count(frame)
    finally:
        _is_handling = False


def _count(frame: FrameType) -> None:
    code = frame.f_code
    is_entry = frame.f_lasti <= _BEFORE_THE_FIRST_LINE
    _counts[code.co_filename, code.co_qualname, 0 if is_entry else frame.f_lineno] += 1
    if sum(_counts.values()) % WRITTEN_EVERY == 0:
        _write()


def _write() -> None:
    path = Path(os.environ["SAMPLES"]) / f"{os.getpid()}.json"
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps([[*where, count] for where, count in _counts.items()]))
    beside.replace(path)


def _begin() -> None:
    _counts.clear()
    signal.signal(signal.SIGPROF, _sample)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)


if "SAMPLES" in os.environ:
    os.register_at_fork(after_in_child=_begin)
