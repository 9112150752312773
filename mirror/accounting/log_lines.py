"""Lines of the access log, from records: one JSON object each, ASCII, bounded.

Rules:
1. Field names and their order are a promise: `docs/access-log.md` lists them.
2. No secret: query strings and user names of targets, Host and paths are left out; only User-Agent,
   Range and Host of a request's fields are known here at all.
3. The line of a hit is put together from the pieces of a line like it, which was made by `request`
   with marks in the places of what differs; where a mark is not found once, or a value is not
   plain, it is made by `request` (measured: to count a hit and make its record and line takes
   3.5 us instead of 8.8).
4. Whatever a client sends, a line is one line of ASCII (`\\u` escapes) of at most `MAX_LINE_BYTES`.

Units: bytes, milliseconds.
Does not: choose which requests are written, or write (`access_log`).
Runs in: worker and keeper. Pure.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from mirror.accounting.records import FetchRecord, HitKind, HitRecord, RequestRecord

VERSION: Final = "1"
# One write of PIPE_BUF bytes to a pipe is not torn by another process.
MAX_LINE_BYTES: Final = 4096
MAX_TARGET: Final = 1024  # the longest known is about 200; the others of `serve.max_target` are odd
MAX_TEXT: Final = 256  # User-Agent, Host, Cache-Status, error: real ones are below 100
MAX_RANGE: Final = 128
MAX_METHOD: Final = 32
# Where escapes (up to twelve characters for one) make a line too long: of each text that takes more
# than `MAX_PLAIN` so many characters. Names of groups are shorter than that.
SHORTENED: Final = 32
MAX_PLAIN: Final = 100

_USER_NAME = re.compile(r"[^/@]+@")  # also one that only looks like it: no Rust path has an @
_QUERY = re.compile(r"\?\S+")

# Visible ASCII that stands in a line as it is, without what is left out of targets: " ? @ and \.
_PLAIN_TARGET: Final = re.compile(r"/[!#->A-\[\]-~]*")
_MARKED_TARGET: Final = "/~here~stands~the~target~"
# Where the values of a `HitRecord` stand, in the order of the line. A number has its name before it
# and a comma behind it, which no text of a client can imitate: there, quotes are escaped.
_MARKS: Final = (
    ("", "1970-01-01T00:00:00.000000Z", ""),
    ('"duration_ms":', "-1.5", ","),
    ("", _MARKED_TARGET, ""),
    ('"bytes":', "-3", ","),
    ('"head_bytes":', "-4", ","),
)
_UNFRAMED: Final = ("",)


class LogLines:
    """Turns records into lines. Keeps the text of the latest second, which most lines share."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def request(self, record: RequestRecord, *, weight: int = 1) -> bytes:
        """Return the line of a response to a client, with its line feed."""
        target, cut = _shown_target(record.target)
        host = _without_user(record.host[:MAX_TEXT])
        url = f"{record.scheme}://{host or '-'}{target}" if target.startswith("/") else target
        line: dict[str, Any] = {
            "version": VERSION,
            "type": "request",
            "date_time": self._date_time(record.began_at),
            "duration_ms": round(record.duration_s * 1000, 3),
            "method": record.method[:MAX_METHOD],
            "url": url,
            "host": host,
            "status": record.status,
            "bytes": record.content_bytes,
            "head_bytes": record.head_bytes,
            "ip": record.client,
            "is_tls": record.scheme == "https",
            "http": {
                "protocol": record.protocol,
                "useragent": record.user_agent[:MAX_TEXT],
                "range": record.range[:MAX_RANGE],
            },
            "class": record.content_class,
            "outcome": record.outcome,
            "cache_status": record.cache_status[:MAX_TEXT],
            "upstream": record.upstream,
            "group": record.group,
            "complete": record.is_complete,
            "weight": weight,
        }
        if cut:
            line["url_cut_bytes"] = cut
        return _encoded(line)

    def hit(self, record: HitRecord, *, weight: int = 1) -> bytes:
        """Return what `request` returns of the hit written out (rule 3)."""
        kind, began_at, duration_s, target, content_bytes, head_bytes = record
        frame = kind.frame or self._frame(kind)
        is_plain = len(target) <= MAX_TARGET and _PLAIN_TARGET.fullmatch(target) is not None
        if frame is _UNFRAMED or not is_plain or weight != 1:
            return self.request(record.whole(), weight=weight)
        return (
            f"{frame[0]}{self._date_time(began_at)}{frame[1]}{round(duration_s * 1000, 3)}"
            f"{frame[2]}{target}{frame[3]}{content_bytes}{frame[4]}{head_bytes}{frame[5]}"
        ).encode("ascii")

    def _frame(self, kind: HitKind) -> tuple[str, ...]:
        """Cut a line like those of the kind at its marks."""
        marked = replace(
            kind.like,
            began_at=0.0,
            duration_s=-0.0015,
            target=_MARKED_TARGET,
            content_bytes=-3,
            head_bytes=-4,
        )
        rest = self.request(marked).decode("ascii")
        pieces = []
        is_whole = len(rest) + MAX_TARGET + MAX_TEXT <= MAX_LINE_BYTES  # never shortened
        for before, value, behind in _MARKS:
            is_whole = is_whole and rest.count(f"{before}{value}{behind}") == 1
            piece, _, rest = rest.partition(f"{before}{value}{behind}")
            pieces.append(piece + before)
            rest = behind + rest
        kind.frame = (*pieces, rest) if is_whole else _UNFRAMED
        return kind.frame

    def fetch(self, record: FetchRecord) -> bytes:
        """Return the line of a request to an upstream, with its line feed."""
        path, cut = _shown_target(record.path)
        line: dict[str, Any] = {
            "version": VERSION,
            "type": "fetch",
            "date_time": self._date_time(record.began_at),
            "duration_ms": round(record.duration_s * 1000, 3),
            "method": record.method[:MAX_METHOD],
            "url": f"{record.url.rstrip('/')}/{path.lstrip('/')}",
            "upstream": record.pool,
            "upstream_url": record.url,
            "status": record.status,
            "bytes": record.content_bytes,
            "head_bytes": record.head_bytes,
            "class": record.content_class,
            "complete": record.is_complete,
            "ranged": record.is_ranged,
            "attempt": record.attempt,
            "error": _QUERY.sub("?", record.error[:MAX_TEXT]),
            "weight": 1,
        }
        if cut:
            line["url_cut_bytes"] = cut
        return _encoded(line)

    def _date_time(self, at: float) -> str:
        micros = round(at * 1_000_000)
        second, fraction = divmod(micros, 1_000_000)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._text}.{fraction:06d}Z"


def _shown_target(target: str) -> tuple[str, int]:
    """Return what is shown, and how many characters of `target` are not."""
    if "?" not in target and "@" not in target and len(target) <= MAX_TARGET:
        return target, 0
    kept = target.partition("?")[0][:MAX_TARGET]
    return _without_user(kept), len(target) - len(kept)


def _without_user(text: str) -> str:
    return _USER_NAME.sub("-@", text) if "@" in text else text


def _encoded(line: dict[str, Any]) -> bytes:
    try:
        encoded = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except (TypeError, ValueError):  # half a surrogate pair: what a lenient decoder leaves
        encoded = b"\xff"
    if encoded.isascii() and b"\x7f" not in encoded and len(encoded) <= MAX_LINE_BYTES:
        return encoded
    encoded = _escaped(line)
    return encoded if len(encoded) <= MAX_LINE_BYTES else _escaped(_shortened(line))


def _escaped(line: dict[str, Any]) -> bytes:
    text = json.dumps(line, ensure_ascii=True, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f").encode("ascii") + b"\n"


def _shortened(line: dict[str, Any]) -> dict[str, Any]:
    return {name: _short(value) for name, value in line.items()}


def _short(value: object) -> object:
    if isinstance(value, dict):
        return _shortened(value)
    if isinstance(value, str) and len(json.dumps(value)) > MAX_PLAIN:
        return value[:SHORTENED]
    return value
