"""Served crate downloads as log lines in the form that the counter of crates.io reads.

    <134>2026-11-22T00:00:00Z mirror.example rust-mirror[0]: {"version":"1", …}

Rules (of that counter: its Fastly reader takes what stands behind `]: {` as JSON):
1. `version` "1", `method` GET, `status` 200, a `url` whose path is
   `/crates/NAME/NAME-VERSION.crate`, a user agent that begins with `cargo/`: such a line is one
   download of that version on the date of `date_time`.
2. One line per download, and nothing else in it: no address, no time of day (midnight stands for
   the day), no client's user agent (`cargo/` and the name of this program).
3. Names with characters that crate names and versions cannot have give no line.

Does not: send anything anywhere.
Runs in: commands. Pure.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

import orjson

import mirror
from mirror.accounting.days import time_text
from mirror.accounting.history import DownloadLine

USER_AGENT: Final = f"cargo/ (counted by rust-edge-mirror/{mirror.__version__})"
_HOST: Final = "static.crates.io"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(?:[-+][0-9A-Za-z.+-]+)?")


def log_lines(lines: Iterable[DownloadLine], site: str) -> Iterator[bytes]:
    """Yield one line per download, each with its end of line; `site` names this mirror."""
    for line in lines:
        if _is_crate(line):
            yield from itertools.repeat(_log_line(line, site), line.downloads)


def csv_lines(lines: Iterable[DownloadLine]) -> Iterator[bytes]:
    """Yield the counts: a line of headings, then one line per day and version."""
    yield b"date,crate,version,downloads\n"
    for line in lines:
        if _is_crate(line):
            row = (time_text(line.day)[:10], line.crate, line.version, str(line.downloads))
            yield ",".join(row).encode() + b"\n"


def _log_line(line: DownloadLine, site: str) -> bytes:
    at = time_text(line.day)
    path = quote(f"/crates/{line.crate}/{line.crate}-{line.version}.crate")
    document = {
        "date_time": at,
        "host": _HOST,
        "http": {"useragent": USER_AGENT},
        "method": "GET",
        "service": site,
        "status": 200,
        "url": f"https://{_HOST}{path}",
        "version": "1",
    }
    return f"<134>{at} {site} rust-mirror[0]: ".encode() + orjson.dumps(document) + b"\n"


def _is_crate(line: DownloadLine) -> bool:
    names = _NAME.fullmatch(line.crate), _VERSION.fullmatch(line.version)
    return all(names) and line.downloads > 0
