"""Lines of the access log, from records: one JSON object each, ASCII, bounded.

Rules:
1. Field names and their order are a promise: `docs/access-log.md` lists them.
2. No secret: query strings and user names of targets, Host and paths are left out; only User-Agent,
   Range and Host of a request's fields are known here at all.
3. Lines of hits of one kind differ in their first values only. What follows these is put together
   once for a kind, from the pieces of a line that `request` made with marks in the places of what
   differs; where a mark is not found once, or a value is not plain, `request` makes it.
4. Whatever a client sends, a line is one line of ASCII (`\\u` escapes) of at most `MAX_LINE_BYTES`.

Units: bytes, milliseconds.
Does not: choose which requests are written, or write (`access_log`).
Runs in: worker and keeper. Pure.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Final

import orjson

from mirror.accounting.records import FetchRecord, Hit, HitForm, HitKind, RequestRecord

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

# Visible ASCII that stands in a line as it is; of targets but what is left out of them (? and @).
_PLAIN_TARGET: Final = re.compile(r"/[!#->A-\[\]-~]*")
_PLAIN_WORDS: Final = re.compile(r"[ !#-\[\]-~]*")
_MARKED_TARGET: Final = "/~here~stands~the~target~"
_MARKED_WORDS: Final = "~here~stand~the~words~"
# Where the values of a `HitKind` stand, in the order of the line. What has a name before it and a
# comma or a quote behind it no text of a client can imitate: there, quotes are escaped.
_MARKS: Final = (
    ("", _MARKED_TARGET, ""),
    ('"bytes":', "-3", ","),
    ('"head_bytes":', "-4", ","),
    ('"cache_status":"', _MARKED_WORDS, '"'),
)
_UNFRAMED: Final = ("",)
# How the line of every hit begins: to the second, and then to the rest of its kind.
_BEGIN: Final = b'{"version":"%b","type":"request","date_time":"%b'
_HIT: Final = b'%b.%06dZ","duration_ms":%.3f%b'
_EARLIEST: Final = 0.0
_NO_TIME: Final = (
    len(_HIT % (_BEGIN % (VERSION.encode(), b"1970-01-01T00:00:00"), 0, 0, b""))
    - len("0.000")
    + len("0.0")
)  # of what `request` makes for a hit at `_EARLIEST` that took none
_DIGITS: Final = 32  # by which durations differ in length
_BEGAN_AT: Final = itemgetter(1)
_HALF_US: Final = 5e-7  # added before a time is cut to microseconds


class LogLines:
    """Turns records into lines. Keeps the text of the latest second, which most lines share.

    What it keeps with a `HitKind` is of its own `hit_weight`.
    """

    __slots__ = ("_hit_weight", "_second", "_text")

    def __init__(self, *, hit_weight: int = 1) -> None:
        """`hit_weight`: how many hits each one stands for that gets a line."""
        self._hit_weight = hit_weight
        self._second = -1
        self._text = ""

    def request(self, record: RequestRecord, *, weight: int = 1) -> bytes:
        """Return the line of a response to a client, with its line feed."""
        return _encoded(self._line(record, weight))

    def _line(self, record: RequestRecord, weight: int) -> dict[str, Any]:
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
        return line

    def hits(self, hits: Sequence[Hit]) -> list[bytes]:
        """Return what `request` returns of each hit's record, but for zeros behind a duration.

        What is longer than `MAX_LINE_BYTES` less `_DIGITS` is shortened.
        """
        if not hits:
            return []
        second = math.floor(min(map(_BEGAN_AT, hits)) + _HALF_US)
        if math.floor(max(map(_BEGAN_AT, hits)) + _HALF_US) != second:
            return [line for each in hits for line in self.hits([each])]
        begin = _BEGIN % (VERSION.encode(), self._second_text(second).encode())
        rest_of = self._rest
        return [
            _HIT
            % (
                begin,
                (began_at + _HALF_US - second) * 1e6,
                duration_s * 1000,
                kind.rest or rest_of(kind),
            )
            for kind, began_at, duration_s in hits
        ]

    def _rest(self, kind: HitKind) -> bytes:
        """Return what stands behind the duration in all lines of the kind, and keep it there."""
        target, words = kind.target, kind.cache_status
        frame = kind.form.frame or self._frame(kind.form)
        if (
            frame is not _UNFRAMED
            and len(target) <= MAX_TARGET
            and len(words) <= MAX_TEXT
            and _PLAIN_TARGET.fullmatch(target)
            and _PLAIN_WORDS.fullmatch(words)
        ):
            kind.rest = (
                f"{frame[0]}{target}{frame[1]}{kind.content_bytes}{frame[2]}{kind.head_bytes}"
                f"{frame[3]}{words}{frame[4]}"
            ).encode("ascii")
        else:
            kind.rest = self._behind_duration(kind.record(_EARLIEST, 0.0))
        return kind.rest

    def _frame(self, form: HitForm) -> tuple[str, ...]:
        """Cut the rest of a line of the form at its marks."""
        marked = replace(
            form.like,
            began_at=_EARLIEST,
            duration_s=0.0,
            target=_MARKED_TARGET,
            content_bytes=-3,
            head_bytes=-4,
            cache_status=_MARKED_WORDS,
        )
        rest = self._behind_duration(marked).decode("ascii")
        pieces = []
        # Never shortened, whatever the target and the words.
        is_whole = len(rest) + MAX_TARGET + 2 * MAX_TEXT <= MAX_LINE_BYTES
        for before, value, behind in _MARKS:
            is_whole = is_whole and rest.count(f"{before}{value}{behind}") == 1
            piece, _, rest = rest.partition(f"{before}{value}{behind}")
            pieces.append(piece + before)
            rest = behind + rest
        form.frame = (*pieces, rest) if is_whole else _UNFRAMED
        return form.frame

    def _behind_duration(self, record: RequestRecord) -> bytes:
        """Of a record at `_EARLIEST` that took no time."""
        line = self._line(record, self._hit_weight)
        return _encoded(line, MAX_LINE_BYTES - _DIGITS)[_NO_TIME:]

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
        at += _HALF_US
        second = math.floor(at)
        return f"{self._second_text(second)}.{int((at - second) * 1e6):06d}Z"

    def _second_text(self, second: int) -> str:
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return self._text


def _shown_target(target: str) -> tuple[str, int]:
    """Return what is shown, and how many characters of `target` are not."""
    if "?" not in target and "@" not in target and len(target) <= MAX_TARGET:
        return target, 0
    kept = target.partition("?")[0][:MAX_TARGET]
    return _without_user(kept), len(target) - len(kept)


def _without_user(text: str) -> str:
    return _USER_NAME.sub("-@", text) if "@" in text else text


def _encoded(line: dict[str, Any], most_bytes: int = MAX_LINE_BYTES) -> bytes:
    try:
        encoded = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except (TypeError, ValueError):  # half a surrogate pair: what a lenient decoder leaves
        encoded = b"\xff"
    if encoded.isascii() and b"\x7f" not in encoded and len(encoded) <= most_bytes:
        return encoded
    encoded = _escaped(line)
    return encoded if len(encoded) <= most_bytes else _escaped(_shortened(line))


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
