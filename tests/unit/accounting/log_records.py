"""Records for the tests of the access log."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from mirror.accounting.records import FetchRecord, RequestRecord

REQUEST = RequestRecord(
    began_at=1_795_339_800.125,
    duration_s=0.000412,
    client="10.1.2.3",
    group="azure-eastus",
    scheme="http",
    protocol="HTTP/1.1",
    method="GET",
    host="mirror.example:8080",
    target="/crates/serde/serde-1.0.200.crate",
    status=200,
    content_class="crate",
    outcome="hit",
    cache_status="hit",
    upstream="crates",
    content_bytes=77935,
    head_bytes=412,
    is_complete=True,
    range="",
    user_agent="cargo/1.92.0 (344c4567c 2025-10-21)",
)
FETCH = FetchRecord(
    began_at=1_795_339_800.101,
    duration_s=0.0235,
    pool="crates",
    url="https://static.crates.io",
    path="/crates/serde/serde-1.0.200.crate",
    method="GET",
    status=200,
    content_class="crate",
    content_bytes=77935,
    head_bytes=512,
    is_complete=True,
    is_ranged=False,
    attempt=1,
    error="",
)


def request(**fields: Any) -> RequestRecord:
    return dataclasses.replace(REQUEST, **fields)


def fetch(**fields: Any) -> FetchRecord:
    return dataclasses.replace(FETCH, **fields)


def plainly(line: bytes) -> bytes:
    """Without the zeros behind the duration of a hit, as lines of others are written."""
    return re.sub(
        rb'(?<="duration_ms":)[0-9.]+', lambda found: b"%r" % float(found[0]), line, count=1
    )
