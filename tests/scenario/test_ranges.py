"""Ranges and conditions of stored objects, from memory and from a file, at a running mirror.

Each row names its section of RFC 9110; together they are the cases that caches are known to get
wrong, with the right answer.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.multipart_message import read_parts
from tests.scenario.edge import DEADLINE_S, Edge, wait_until
from tests.scenario.exchange import fetch
from tests.scenario.upstream_objects import fresh_archive, reference, requests_total

SETTINGS = {"freshness.index": "1h"}
INDEX_PATH = "/index/ch/ro/chronicle"
PART_HEAD_BYTES = 200
MAX_RANGES = 32  # the default of [serve] max_ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    path: str
    content: bytes
    etag: str
    last_modified: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    fields: dict[str, str]
    content: bytes


def is_hit(mirror: Edge, path: str) -> bool:
    return "hit" in fetch(mirror.port, path).cache_status


@pytest.fixture(scope="module")
def objects(mirror: Edge, module_simulator: SimulatorProcess) -> list[StoredObject]:
    """A large one, which is sent from its file, and a small one, sent from memory."""
    archive = fresh_archive(150_001)
    contents = {
        archive.path: archive.content.read(0, archive.length),
        INDEX_PATH: reference(f"{module_simulator.index_url}/ch/ro/chronicle"),
    }
    assert len(contents[INDEX_PATH]) > 100
    for path in contents:
        wait_until(partial(is_hit, mirror, path), f"{path} is stored")
    found = []
    for path, content in contents.items():
        fields = fetch(mirror.port, path, method="HEAD").fields
        found.append(
            StoredObject(
                path=path,
                content=content,
                etag=fields["etag"],
                last_modified=fields["last-modified"],
            )
        )
    return found


@pytest.fixture(scope="module")
def connection(mirror: Edge) -> Iterator[http.client.HTTPConnection]:
    """One for all rows: an answer that is framed wrongly spoils the next."""
    opened = http.client.HTTPConnection("127.0.0.1", mirror.port, timeout=DEADLINE_S)
    yield opened
    opened.close()


def ask(
    connection: http.client.HTTPConnection,
    path: str,
    lines: Sequence[tuple[str, str]],
    method: str = "GET",
) -> Answer:
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in lines:
        connection.putheader(name, value.encode("latin-1"))
    connection.endheaders()
    response = connection.getresponse()
    fields = {name.lower(): value for name, value in response.getheaders()}
    return Answer(status=response.status, fields=fields, content=response.read())


def ranges(*values: str) -> list[tuple[str, str]]:
    return [("Range", value) for value in values]


def filled(text: str, stored: StoredObject) -> str:
    """`{n}` is the length, `{last}` the last offset, `{etag}` and `{date}` the validators."""
    return text.format(
        n=len(stored.content),
        last=len(stored.content) - 1,
        etag=stored.etag,
        date=stored.last_modified,
    )


WHOLE = "whole"
N = 10**9  # an end beyond both objects

# field lines; what is sent: slices (negative: from the end), whole, or a status without content
TABLE: list[tuple[str, list[tuple[str, str]], object]] = [
    ("14.1.2-first-byte", ranges("bytes=0-0"), [(0, 1)]),
    ("14.1.2-last-byte", ranges("bytes={last}-{last}"), [(-1, None)]),
    ("14.1.2-open-end", ranges("bytes=50-"), [(50, None)]),
    ("14.1.2-suffix", ranges("bytes=-7"), [(-7, None)]),
    ("14.1.2-suffix-above-size", ranges("bytes=-999999999"), [(0, None)]),
    ("14.1.2-end-above-size", ranges("bytes=5-999999999"), [(5, None)]),
    ("14.1.2-end-2-to-the-63", ranges(f"bytes=5-{2**63}"), [(5, None)]),
    ("14.1.2-end-2-to-the-70", ranges(f"bytes=5-{2**70}"), [(5, None)]),
    ("14.1.2-suffix-2-to-the-70", ranges(f"bytes=-{2**70}"), [(0, None)]),
    ("15.5.17-start-at-size", ranges("bytes={n}-"), 416),
    ("15.5.17-start-2-to-the-70", ranges(f"bytes={2**70}-"), 416),
    ("15.5.17-empty-suffix", ranges("bytes=-0"), 416),
    ("14.1.1-descending", ranges("bytes=9-5"), WHOLE),
    ("14.1.1-dash", ranges("bytes=-"), WHOLE),
    ("14.1.1-letters", ranges("bytes=a-b"), WHOLE),
    ("14.1.1-plus", ranges("bytes=+1-5"), WHOLE),
    ("14.1.1-hexadecimal", ranges("bytes=0x0-0xf"), WHOLE),
    ("14.2-unknown-unit", ranges("lines=0-5"), WHOLE),
    ("14.1.1-no-sign", ranges("bytes 0-5"), WHOLE),
    ("5.6.1.2-empty-elements", ranges("bytes=,5-9,"), [(5, 10)]),
    ("15.3.7.2-disjoint", ranges("bytes=0-4,20-24"), [(0, 5), (20, 25)]),
    ("15.3.7.2-descending", ranges("bytes=20-24,0-4"), [(20, 25), (0, 5)]),
    ("15.3.7.2-adjacent", ranges("bytes=0-4,5-9"), [(0, 5), (5, 10)]),
    ("15.3.7.2-suffix", ranges("bytes=0-0,-5"), [(0, 1), (-5, None)]),
    ("15.3.7.2-all-in-two", ranges("bytes=50-,0-49"), [(50, None), (0, 50)]),
    ("15.3.7.2-one-satisfiable", ranges("bytes={n}-,7-8"), [(7, 9)]),
    ("15.3.7.2-two-satisfiable", ranges("bytes=7-8,{n}-,1-2"), [(7, 9), (1, 3)]),
    ("15.5.17-none-satisfiable", ranges("bytes={n}-,-0"), 416),
    ("5.3-two-lines", ranges("bytes=0-4", "20-24"), [(0, 5), (20, 25)]),
    ("14.2-overlapping", ranges("bytes=0-9,5-14"), WHOLE),
    ("17.15-tiny-ones", ranges("bytes=" + ",".join(f"{2 * i}-{2 * i}" for i in range(32))),
     [(2 * i, 2 * i + 1) for i in range(32)]),
    ("17.15-attack-150-tiny-ones",
     ranges("bytes=" + ",".join(f"{i}-{i}" for i in range(150))), WHOLE),
    ("17.15-attack-60-wholes", ranges("bytes=" + ",".join(["0-"] * 60)), WHOLE),
    ("13.1.5-strong", [*ranges("bytes=0-4"), ("If-Range", "{etag}")], [(0, 5)]),
    ("13.1.5-strong-and-several", [*ranges("bytes=0-4,7-8"), ("If-Range", "{etag}")],
     [(0, 5), (7, 9)]),
    ("13.1.5-weak", [*ranges("bytes=0-4"), ("If-Range", "W/{etag}")], WHOLE),
    ("13.1.5-mismatch", [*ranges("bytes=0-4"), ("If-Range", '"x"')], WHOLE),
    ("13.1.5-mismatch-and-unsatisfiable", [*ranges("bytes={n}-"), ("If-Range", '"x"')], WHOLE),
    ("13.1.5-exact-date", [*ranges("bytes=0-4"), ("If-Range", "{date}")], [(0, 5)]),
    ("13.1.5-later-date",
     [*ranges("bytes=0-4"), ("If-Range", "Fri, 31 Dec 2038 23:59:59 GMT")], WHOLE),
    ("13.1.2-equal", [("If-None-Match", "{etag}")], 304),
    ("13.1.2-weak", [("If-None-Match", "W/{etag}")], 304),
    ("13.1.2-list", [("If-None-Match", '"x", {etag}')], 304),
    ("5.3-two-tags-in-two-lines", [("If-None-Match", '"x"'), ("If-None-Match", "{etag}")], 304),
    ("13.1.2-star", [("If-None-Match", "*")], 304),
    ("8.8.3-comma-inside-a-tag", [("If-None-Match", '"a,b", {etag}')], 304),
    ("8.8.3-obs-text-in-a-tag", [("If-None-Match", '"\xe4\xff", {etag}')], 304),
    ("13.1.2-other", [("If-None-Match", '"x"')], WHOLE),
    ("13.1.2-before-a-range", [("If-None-Match", "*"), *ranges("bytes=0-4")], 304),
    ("13.1.1-other", [("If-Match", '"x"')], 412),
    ("13.1.1-weak", [("If-Match", "W/{etag}")], 412),
    ("13.1.1-equal", [("If-Match", "{etag}"), *ranges("bytes=0-4")], [(0, 5)]),
    ("13.1.1-before-if-none-match", [("If-Match", '"x"'), ("If-None-Match", "*")], 412),
    ("13.1.4-earlier", [("If-Unmodified-Since", "Thu, 01 Jan 2009 00:00:00 GMT")], 412),
    ("13.1.4-equal", [("If-Unmodified-Since", "{date}")], WHOLE),
    ("13.1.3-equal", [("If-Modified-Since", "{date}")], 304),
    ("13.1.3-later", [("If-Modified-Since", "Fri, 31 Dec 2038 23:59:59 GMT")], 304),
    ("5.6.7-later-rfc-850", [("If-Modified-Since", "Friday, 31-Dec-38 23:59:59 GMT")], 304),
    ("5.6.7-later-asctime", [("If-Modified-Since", "Fri Dec 31 23:59:59 2038")], 304),
    ("13.1.3-earlier", [("If-Modified-Since", "Thu, 01 Jan 2009 00:00:00 GMT")], WHOLE),
    ("13.1.3-not-with-if-none-match",
     [("If-None-Match", '"x"'), ("If-Modified-Since", "Fri, 31 Dec 2038 23:59:59 GMT")], WHOLE),
]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "wanted"), [pytest.param(lines, wanted, id=name) for name, lines, wanted in TABLE]
)
def test_stored_objects_are_answered_as_the_rfc_says(
    connection: http.client.HTTPConnection,
    objects: list[StoredObject],
    lines: list[tuple[str, str]],
    wanted: object,
) -> None:
    for stored in objects:
        sent = [(name, filled(value, stored)) for name, value in lines]
        answer = ask(connection, stored.path, sent)
        content, size = stored.content, len(stored.content)
        assert answer.fields["etag"] == stored.etag
        assert len(answer.content) <= size + PART_HEAD_BYTES * (MAX_RANGES + 1)
        if wanted == WHOLE:
            assert (answer.status, answer.content == content) == (200, True)
        elif isinstance(wanted, list):
            slices = [slice(*ends).indices(size)[:2] for ends in wanted]
            assert answer.status == 206
            assert parts_of(answer) == [(start, size, content[start:end]) for start, end in slices]
        else:
            assert answer.status == wanted
            if wanted == 416:
                assert answer.fields["content-range"] == f"bytes */{size}"


def parts_of(answer: Answer) -> list[tuple[int, int, bytes]]:
    """(first offset, complete length, bytes) of what a 206 holds."""
    if "content-range" not in answer.fields:
        parts = read_parts(answer.fields["content-type"], answer.content)
        assert len(parts) > 1
        return [(part.first, part.length, part.content) for part in parts]
    place, _, length = answer.fields["content-range"].removeprefix("bytes ").partition("/")
    first, _, last = place.partition("-")
    assert int(last) - int(first) + 1 == len(answer.content)
    return [(int(first), int(length), answer.content)]


@pytest.mark.parametrize("value", ["bytes=0-0", "bytes=0-4,7-8", f"bytes={N}-"])
def test_a_range_on_head_is_ignored(
    connection: http.client.HTTPConnection, objects: list[StoredObject], value: str
) -> None:
    """RFC 9110 section 14.2."""
    for stored in objects:
        answer = ask(connection, stored.path, ranges(value), "HEAD")
        assert (answer.status, answer.content) == (200, b"")
        assert answer.fields["content-length"] == str(len(stored.content))


def test_no_case_costs_upstream_a_request(
    connection: http.client.HTTPConnection,
    objects: list[StoredObject],
    upstream: SimulatorProcess,
) -> None:
    for lines in (ranges("bytes=0-4,7-8"), ranges(f"bytes={N}-"), [("If-Match", '"x"')]):
        for stored in objects:
            ask(connection, stored.path, lines)
    assert requests_total(upstream) == 0
