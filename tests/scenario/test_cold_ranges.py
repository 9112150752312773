"""Ranges of what nobody has stored yet, or of what is still coming, through real processes.

Order is asserted by what upstream had been asked for, and had sent, when the client had its bytes.
"""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import Client, Reply, digests, fetch
from tests.scenario.upstream_objects import Archive, count_of, fresh_archive, log_of, slow_archive

SIZE = 6_000_000
RATE = 6_000_000  # the whole takes a second: longer than any range here
MIB = 1 << 20


def part_of(mirror: Edge, archive: Archive, value: str, **fields: str) -> Reply:
    named = {name.replace("_", "-"): text for name, text in fields.items()}
    return fetch(mirror.port, archive.path, {"Range": f"bytes={value}", **named})


def is_part(reply: Reply, archive: Archive, start: int, end: int) -> bool:
    """Whether the reply is exactly `[start, end)`."""
    assert reply.fields.get("content-range") == f"bytes {start}-{end - 1}/{archive.length}"
    return (reply.status, reply.is_complete, reply.content) == (
        206,
        True,
        archive.content.read(start, end),
    )


def is_stored(mirror: Edge, archive: Archive) -> bool:
    return archive.sha256 in mirror.blobs()


def sent(upstream: SimulatorProcess, archive: Archive) -> tuple[int, int]:
    """How many requests the archive cost upstream, and how many bytes of content."""
    count = count_of(upstream, archive.key)
    return count["requests"], count["bytes"]


def test_the_last_bytes_of_a_cold_object_cost_one_ranged_request_and_then_the_rest(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = slow_archive(upstream, SIZE, RATE)
    reply = part_of(mirror, archive, "-100")
    assert not is_stored(mirror, archive)  # the client's bytes came before the fill was over
    assert is_part(reply, archive, SIZE - 100, SIZE)
    assert "stored" in reply.cache_status
    wait_until(lambda: is_stored(mirror, archive), "the rest has followed")
    assert sent(upstream, archive) == (2, SIZE)
    first, rest = log_of(upstream, archive.path)
    assert (first["status"], first["content_bytes"]) == (206, 100)
    assert (rest["status"], rest["content_bytes"]) == (206, SIZE - 100)
    assert digests([fetch(mirror.port, archive.path)]) == {(200, True, archive.sha256)}
    assert sent(upstream, archive) == (2, SIZE)
    assert upstream.control.faults_fired()["slow"] == 2


def test_ranges_behind_at_and_beyond_a_running_fill_each_get_their_bytes(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = slow_archive(upstream, SIZE, RATE)
    with Client(mirror.port) as leader:
        response = leader.begin(archive.path)
        begun = response.read(500_000)
        behind = part_of(mirror, archive, "100-299")
        beyond = part_of(mirror, archive, f"{SIZE - 200}-{SIZE - 101}")
        assert not is_stored(mirror, archive)
        at = part_of(mirror, archive, "500000-1000000")
        assert is_part(behind, archive, 100, 300)
        assert is_part(beyond, archive, SIZE - 200, SIZE - 100)
        assert is_part(at, archive, 500_000, 1_000_001)
        assert begun + response.read() == archive.content.read(0, SIZE)
    # One request for the whole, and one for what was far ahead of it.
    assert sent(upstream, archive) == (2, SIZE + 100)
    assert upstream.control.faults_fired()["slow"] == 2


def test_upstream_dies_in_a_cold_range_and_in_the_rest_and_nobody_notices(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(SIZE)
    for at, name in ((SIZE - 500_000, "in-the-range"), (SIZE // 2, "in-the-rest")):
        upstream.control.faults(
            {"kind": "cut", "path": archive.path, "at": at, "count": 1, "name": name}
        )
    reply = part_of(mirror, archive, f"{SIZE - MIB}-")
    assert is_part(reply, archive, SIZE - MIB, SIZE)
    wait_until(lambda: is_stored(mirror, archive), "the rest has followed")
    assert digests([fetch(mirror.port, archive.path)]) == {(200, True, archive.sha256)}
    requests, sent_bytes = sent(upstream, archive)
    # What was on its way when the connection ended counts as sent, and comes again.
    assert requests == 4
    assert SIZE <= sent_bytes <= SIZE + MIB
    fired = upstream.control.faults_fired()
    assert (fired["in-the-range"], fired["in-the-rest"]) == (1, 1)


def test_if_range_decides_over_a_cold_range_too(mirror: Edge, upstream: SimulatorProcess) -> None:
    archive, other = fresh_archive(SIZE), fresh_archive(SIZE)
    same = part_of(mirror, archive, "-100", If_Range=f'"{archive.sha256}"')
    assert is_part(same, archive, SIZE - 100, SIZE)
    another = part_of(mirror, other, "-100", If_Range=f'"{archive.sha256}"')
    assert (another.status, another.is_complete, another.sha256) == (200, True, other.sha256)


def test_an_upstream_without_ranges_fills_in_order(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(SIZE)
    upstream.control.faults({"kind": "no_ranges", "path": archive.path, "name": "whole"})
    assert is_part(part_of(mirror, archive, "-100"), archive, SIZE - 100, SIZE)
    wait_until(lambda: is_stored(mirror, archive), "it is stored")
    assert sent(upstream, archive) == (1, SIZE)
    assert upstream.control.faults_fired()["whole"] == 1


def test_another_version_between_two_segments_never_reaches_the_client_that_has_the_first(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    """The tag changes when the body is resumed: the client is cut off, the next begins anew."""
    archive = fresh_archive(SIZE)
    upstream.control.faults(
        {"kind": "cut", "path": archive.path, "at": 3_000_000, "count": 1, "name": "cut"},
        {"kind": "no_ranges", "path": archive.path, "count": 1, "name": "whole"},
        {
            "kind": "fields",
            "path": archive.path,
            "skip": 1,
            "count": 1,
            "fields": {"ETag": '"another"'},
            "name": "tag",
        },
        {"kind": "corrupt", "path": archive.path, "at": 7, "skip": 1, "count": 1, "name": "bytes"},
    )
    first = fetch(mirror.port, archive.path)
    fired = upstream.control.faults_fired()
    assert [fired[name] for name in ("cut", "whole", "tag", "bytes")] == [1, 1, 1, 1]
    assert (first.status, first.is_complete) == (200, False)
    assert first.content == archive.content.read(0, first.length)
    assert first.length <= 3_000_000
    assert digests([fetch(mirror.port, archive.path)]) == {(200, True, archive.sha256)}
    assert [event["key"] for event in mirror.named("upstream-changed")] == [archive.key]


def test_a_slow_reader_and_a_leader_that_leaves_do_not_hold_up_a_cold_range(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = slow_archive(upstream, SIZE, RATE)
    with Client(mirror.port) as slow, Client(mirror.port) as leader:
        assert slow.begin(archive.path, {"Range": f"bytes={2 * MIB}-"}).read(1)
        assert leader.begin(archive.path).read(1)
        leader.close()
        wait_until(lambda: is_stored(mirror, archive), "the fill is over while one reads nothing")
        assert slow._response is not None
        rest = slow._response.read()
    assert rest == archive.content.read(2 * MIB + 1, SIZE)
    assert upstream.control.faults_fired()["slow"] >= 2


@pytest.mark.full
def test_a_killed_keeper_in_a_cold_range_is_outlived_by_client_and_fill(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    archive = slow_archive(upstream, 12_000_000, RATE)
    with Edge(tmp_path, upstream) as mirror, Client(mirror.port) as client:
        response = client.begin(archive.path, {"Range": "bytes=6000000-"})
        begun = response.read(1_000_000)
        mirror.send(signal.SIGKILL, "keeper")
        assert begun + response.read() == archive.content.read(6_000_000, 12_000_000)
        wait_until(lambda: is_stored(mirror, archive), "the next keeper completes it")


def test_above_the_limit_a_cold_range_costs_itself_alone(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(SIZE)
    with Edge(
        tmp_path, upstream, workers=1, settings={"store.ranges_only_above": "5MiB"}
    ) as mirror:
        replies: list[Reply] = []
        threads = [
            threading.Thread(target=lambda v=value: replies.append(part_of(mirror, archive, v)))
            for value in ("-100", "2000000-2000099")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(reply.content for reply in replies) == sorted(
            (archive.content.read(SIZE - 100, SIZE), archive.content.read(2_000_000, 2_000_100))
        )
        assert all("stored" not in reply.cache_status for reply in replies)
        assert sent(upstream, archive) == (2, 200)
        assert not is_stored(mirror, archive)
        assert digests([fetch(mirror.port, archive.path)]) == {(200, True, archive.sha256)}
        wait_until(lambda: is_stored(mirror, archive), "it is stored")
