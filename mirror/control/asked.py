"""Who asked for an object lately: read from the end of the access log, where one is written.

Rules:
1. At most `READ_BYTES` of the file's end are read, and only of a regular file: an operator may
   point the log at a pipe. Of its lines at most `PARSED_LINES` are taken apart, the newest that
   look like it: a short name is in many.
2. Addresses stay in the log: this is shown to whoever may open the dashboard. The client group,
   the user agent and the outcome tell what there is to know here.
3. A line that is not one of ours is passed over.

Runs in: keeper, in a thread.
"""

from __future__ import annotations

import itertools
import os
import stat
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from mirror.route.match import match, site_of_host
from mirror.route.route import Route

READ_BYTES: Final = 4 << 20  # some ten thousand lines, 20 ms
PARSED_LINES: Final = 5000  # 60 ms
SHOWN_REQUESTS: Final = 20
_MAX_LINE_BYTES: Final = 8192  # twice what the log writes


def latest_requests(path: str, route: Route) -> list[dict[str, Any]]:
    """Return the newest requests for the object, newest first; none where there is no log."""
    found: list[dict[str, Any]] = []
    marks = _marks(route)
    lines = (line for line in reversed(_tail(path)) if len(line) <= _MAX_LINE_BYTES)
    likely = (line for line in lines if any(mark in line for mark in marks))
    for line in itertools.islice(likely, PARSED_LINES):
        request = _request(line, route)
        if request is not None:
            found.append(request)
            if len(found) == SHOWN_REQUESTS:
                break
    return found


def _marks(route: Route) -> tuple[bytes, ...]:
    """Return what lines about the object have in them, one of.

    Each spelling of a target ends alike but for "download" (see `route.crates`) and for the "+" of
    versions, which some clients encode.
    """
    name = "/" + route.path.rpartition("/")[2]
    spellings = [name, name.replace("+", "%2B"), name.replace("+", "%2b")]
    if name.endswith(".crate"):
        spellings.append("/download")
    return tuple({f"{each}{end}".encode("ascii") for each in spellings for end in '"?'})


def _tail(path: str) -> list[bytes]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return []
        begin = max(0, status.st_size - READ_BYTES)
        lines = os.pread(fd, READ_BYTES, begin).split(b"\n")
    except OSError:
        return []
    finally:
        os.close(fd)
    return lines[1:] if begin else lines  # the first one is cut


def _request(line: bytes, route: Route) -> dict[str, Any] | None:
    try:
        fields = orjson.loads(line)
        if fields["type"] != "request":
            return None
        url = urlsplit(fields["url"])
        asked = match(url.path.encode("ascii"), site_of_host((url.hostname or "").lower()))
        if not isinstance(asked, Route) or asked.key != route.key:
            return None
        return {
            "date_time": fields["date_time"],
            "method": fields["method"],
            "status": fields["status"],
            "outcome": fields["outcome"],
            "cache_status": fields["cache_status"],
            "bytes": fields["bytes"],
            "duration_ms": fields["duration_ms"],
            "group": fields["group"],
            "useragent": fields["http"]["useragent"],
            "complete": fields["complete"],
        }
    except (ValueError, KeyError, TypeError):  # rule 3
        return None
