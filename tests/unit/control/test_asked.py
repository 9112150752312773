"""Who asked for an object, from the end of the access log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mirror.accounting.log_lines import LogLines
from mirror.accounting.records import RequestRecord
from mirror.control.asked import PARSED_LINES, READ_BYTES, SHOWN_REQUESTS, latest_requests
from mirror.route.match import route_of_key
from mirror.route.route import Route


def _route(key: str) -> Route:
    route = route_of_key(key)
    assert route is not None
    return route


SERDE = _route("crates:/crates/serde/serde-1.0.0.crate")


def _line(target: str, *, agent: str = "cargo/1.90.0", host: str = "mirror.example") -> bytes:
    return LogLines().request(
        RequestRecord(
            began_at=1.8e9, duration_s=0.25, client="192.0.2.7", group="ci", scheme="http",
            protocol="HTTP/1.1", method="GET", host=host, target=target, status=200,
            content_class="crate", outcome="hit", cache_status="hit", upstream="crates",
            content_bytes=10, head_bytes=20, is_complete=True, range="", user_agent=agent,
        )
    )  # fmt: skip


def test_every_spelling_of_the_object_counts_and_no_other(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(
        _line("/crates/serde/serde-1.0.0.crate", agent="first")
        + _line("/crates/serde/1.0.0/download", agent="second")
        + _line("/crates/serde/serde-1.0.1.crate", agent="other version")
        + _line("/crates/serde/1.0.1/download", agent="other download")
        + b'{"type": "fetch", "url": "http://u/crates/serde/serde-1.0.0.crate"}\n'
        + b"serde-1.0.0.crate is no line of ours\n"
        + b'["serde-1.0.0.crate"]\n'
        + _line("/crates/serde/serde-1.0.0.crate", agent="third", host="static.crates.io")
    )
    found = latest_requests(str(log), SERDE)
    assert [each["useragent"] for each in found] == ["third", "second", "first"]
    assert "192.0.2.7" not in str(found)
    assert (found[0]["group"], found[0]["duration_ms"], found[0]["bytes"]) == ("ci", 250.0, 10)


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    line = _line("/crates/serde/serde-1.0.0.crate")
    with log.open("wb") as file:
        file.write(_line("/crates/serde/serde-1.0.0.crate", agent="ancient"))
        file.seek(READ_BYTES, os.SEEK_CUR)
        file.write(b"\n" + line * (SHOWN_REQUESTS + 5))
    found = latest_requests(str(log), SERDE)
    assert len(found) == SHOWN_REQUESTS
    assert {each["useragent"] for each in found} == {"cargo/1.90.0"}


def test_a_pipe_or_an_absent_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert latest_requests(str(pipe), SERDE) == []
    assert latest_requests(str(tmp_path / "absent"), SERDE) == []


@pytest.mark.parametrize("plus", ["+", "%2B", "%2b"])
def test_the_plus_of_a_version_may_be_encoded(tmp_path: Path, plus: str) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(_line(f"/crates/plusmeta/plusmeta-1.0.0{plus}meta.crate"))
    key = "crates:/crates/plusmeta/plusmeta-1.0.0+meta.crate"
    assert len(latest_requests(str(log), _route(key))) == 1


def test_a_log_full_of_likely_lines_costs_a_bounded_look(tmp_path: Path) -> None:
    """A name such as "io" that ends every target by an attacker's choice."""
    log = tmp_path / "access.log"
    with log.open("wb") as file:
        file.write(_line("/index/2/io", agent="beyond the bound"))
        file.write(_line("/index/no/such/io") * PARSED_LINES)
    assert latest_requests(str(log), _route("index:/2/io")) == []
    with log.open("ab") as file:
        file.write(_line("/index/2/io", agent="within"))
    assert len(latest_requests(str(log), _route("index:/2/io"))) == 1
