"""`mirror.accounting.download_lines`: what is exported is what the counter of crates.io counts.

The counter here follows the rules of `crates_io_cdn_logs` (its Fastly form), written anew.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.accounting.days import DAY_S
from mirror.accounting.download_lines import csv_lines, log_lines
from mirror.accounting.history import DownloadLine

DAY = 20_000 * DAY_S  # 2024-10-04
SITE = "mirror.example"


def count_as_upstream(content: bytes) -> Counter[tuple[str, str, str]]:
    """Count (date, crate, version) the way crates.io does."""
    assert content[:1] in (b"", b"<")  # by the first byte it tells Fastly's form from CloudFront's
    counted: Counter[tuple[str, str, str]] = Counter()
    for line in content.decode().splitlines():
        found = json.loads(line[line.index("]: {") + 3 :])
        if found["version"] != "1" or found["method"] != "GET" or found["status"] != 200:
            continue
        if not found["http"]["useragent"].startswith(("cargo/", "cargo ")):
            continue
        path = unquote(found["url"]).partition("?")[0]
        crate, _, rest = path[path.index("/crates/") + 8 :].partition("/")
        assert rest.startswith(f"{crate}-")
        version = rest.removeprefix(f"{crate}-").removesuffix(".crate")
        assert re.fullmatch(r"\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?", version)
        counted[found["date_time"][:10], crate, version] += 1
    return counted


def _line(crate: str, version: str, downloads: int, day: int = DAY) -> DownloadLine:
    return DownloadLine(day=day, crate=crate, version=version, downloads=downloads)


_LINES = st.lists(
    st.builds(
        DownloadLine,
        day=st.integers(20_000, 20_010).map(lambda day: day * DAY_S),
        crate=st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,20}", fullmatch=True),
        version=st.sampled_from(["1.0.0", "0.3.0-rc.1", "0.5.4+5.3.0-patched", "1.2.3-a.b+c"]),
        downloads=st.integers(0, 5),
    ),
    max_size=20,
)


@given(lines=_LINES)
@pytest.mark.full
def test_upstream_counts_what_was_served(lines: list[DownloadLine]) -> None:
    expected: Counter[tuple[str, str, str]] = Counter()
    for line in lines:
        expected[_date(line.day), line.crate, line.version] += line.downloads
    assert count_as_upstream(b"".join(log_lines(lines, SITE))) == +expected


def _date(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def test_a_line_has_nothing_of_a_client() -> None:
    (line,) = log_lines([_line("serde", "1.0.0", 1)], SITE)
    prefix, _, document = line.partition(b"]: ")
    assert prefix == b"<134>2024-10-04T00:00:00Z mirror.example rust-mirror[0"
    found = json.loads(document)
    assert set(found) == {
        *("date_time", "host", "http", "method", "service", "status", "url", "version"),
    }
    assert found["date_time"] == "2024-10-04T00:00:00Z"
    assert found["http"] == {"useragent": found["http"]["useragent"]}
    assert found["http"]["useragent"].startswith("cargo/ (counted by rust-edge-mirror/")


def test_a_plus_is_written_as_the_cdn_writes_it() -> None:
    (line,) = log_lines([_line("tikv-jemalloc-sys", "0.5.4+5.3.0", 1)], SITE)
    assert b"/tikv-jemalloc-sys-0.5.4%2B5.3.0.crate" in line


@pytest.mark.parametrize(
    ("crate", "version", "downloads"),
    [
        pytest.param('x"}\n<134>', "1.0.0", 1, id="line-break"),
        pytest.param("serde", "1.0", 1, id="no-version"),
        pytest.param("a/b", "1.0.0", 1, id="slash"),
        pytest.param("", "1.0.0", 1, id="no-name"),
        pytest.param("serde", "1.0.0,=1", 1, id="comma"),
        pytest.param("serde", "1.0.0", 0, id="none"),
        pytest.param("serde", "1.0.0", -3, id="negative"),
    ],
)
def test_what_is_no_crate_gives_no_line(crate: str, version: str, downloads: int) -> None:
    lines = [_line(crate, version, downloads)]
    assert list(log_lines(lines, SITE)) == []
    assert list(csv_lines(lines)) == [b"date,crate,version,downloads\n"]


def test_csv_has_the_counts() -> None:
    assert list(csv_lines([_line("serde", "1.0.0", 12)]))[1:] == [b"2024-10-04,serde,1.0.0,12\n"]
