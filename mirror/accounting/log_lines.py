"""Lines of the access log, from records: one JSON object each, ASCII, bounded.

Rules:
1. Field names and their order are a promise: `docs/access-log.md` lists them.
2. No secret: query strings and user names of targets, Host and paths are left out; only User-Agent,
   Range and Host of a request's fields are known here at all.
3. Whatever a client sends, a line is one line of ASCII (`\\u` escapes) of at most `MAX_LINE_BYTES`.

Units: bytes, milliseconds.
Does not: choose which requests are written, or write (`access_log`).
Runs in: worker and keeper. Pure.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from mirror.accounting.records import FetchRecord, RequestRecord

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
