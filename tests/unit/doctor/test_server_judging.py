"""`mirror.doctor`'s judging of a server: tables of what is seen and what is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mirror.doctor.disks import (
    Room,
    Volume,
    judge_room,
    judge_state_room,
    judge_together,
    judge_trial,
    judge_volume,
)
from mirror.doctor.findings import Verdict
from mirror.doctor.machine_limits import UNLIMITED, Granted, Wanted, judge_limits
from mirror.doctor.permissions import Ownership, Role, User, judge_owners, may
from mirror.doctor.running import (
    Versions,
    judge_absence,
    judge_elsewhere,
    judge_sandbox,
    judge_status,
    judge_versions,
)
from mirror.doctor.store_health import (
    Condition,
    Contents,
    Database,
    judge_contents,
    judge_index,
    judge_state,
    judge_told,
)
from tests.unit.doctor.verdicts import DAY_S, GOOD, NOTE, RISK, WRONG, verdicts

GIB = 1 << 30


def volume(**changes: object) -> Volume:
    base = Volume(
        noun="store",
        path="/cache",
        file_system="ext4",
        options=frozenset(("rw", "noatime")),
        device=1,
        free_bytes=100 * GIB,
        total_bytes=200 * GIB,
        free_inodes=10_000_000,
        inodes=20_000_000,
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, GOOD, id="ext4-noatime"),
        pytest.param({"file_system": "nfs4"}, WRONG, id="network"),
        pytest.param({"file_system": "tmpfs"}, RISK, id="store-in-memory"),
        pytest.param({"file_system": "tmpfs", "noun": "state"}, WRONG, id="state-in-memory"),
        pytest.param({"file_system": "vfat"}, RISK, id="no-owners"),
        pytest.param({"file_system": "overlay"}, NOTE, id="container-layer"),
        pytest.param({"options": frozenset(("ro",))}, WRONG, id="read-only"),
        pytest.param({"options": frozenset(("rw", "nobarrier"))}, RISK, id="no-barriers"),
        pytest.param({"options": frozenset(("rw", "sync"))}, RISK, id="sync"),
    ],
)
def test_file_system_and_options(changes: dict[str, object], expected: Verdict) -> None:
    assert verdicts(judge_volume(volume(**changes))) == [expected]


@pytest.mark.parametrize(
    ("free", "inodes", "used", "expected"),
    [
        pytest.param(100 * GIB, 10**6, 0, [GOOD], id="room-for-all"),
        pytest.param(20 * GIB, 10**6, 40 * GIB, [GOOD], id="most-is-used-already"),
        pytest.param(20 * GIB, 10**6, 0, [RISK], id="budget-beyond-disk"),
        pytest.param(20 * GIB, 10**6, None, [NOTE], id="nobody-knows-what-is-used"),
        pytest.param(GIB - 1, 10**6, 0, [WRONG], id="below-the-floor"),
        pytest.param(100 * GIB, 999, 0, [GOOD, WRONG], id="no-inodes"),
        pytest.param(100 * GIB, 1500, 0, [GOOD, RISK], id="few-inodes"),
    ],
)
def test_room(free: int, inodes: int, used: int | None, expected: list[Verdict]) -> None:
    room = Room(budget_bytes=50 * GIB, used_bytes=used, floor_bytes=GIB, floor_inodes=1000)
    assert verdicts(judge_room(volume(free_bytes=free, free_inodes=inodes), room)) == expected
    uncounted = volume(free_bytes=100 * GIB, free_inodes=0, inodes=0)
    assert verdicts(judge_room(uncounted, room)) in ([GOOD], [NOTE])


def test_the_budget_that_fits_is_named() -> None:
    room = Room(budget_bytes=50 * GIB, used_bytes=0, floor_bytes=GIB, floor_inodes=0)
    [found] = judge_room(volume(free_bytes=20 * GIB), room)
    assert "to 19.0 GiB or less" in found.remedy


def test_state_room_and_shared_disk() -> None:
    state = volume(noun="state")
    assert verdicts(judge_state_room(state)) == []
    assert verdicts(judge_state_room(replace(state, free_bytes=10**8))) == [WRONG]
    assert verdicts(judge_state_room(replace(state, free_inodes=5))) == [WRONG]
    assert verdicts(judge_together((volume(), state), 0)) == [RISK]
    assert verdicts(judge_together((volume(), state), 1)) == []
    assert verdicts(judge_together((volume(), replace(state, device=2)), 0)) == []


@pytest.mark.parametrize(
    ("seconds", "trouble", "expected"),
    [(0.01, "", GOOD), (9.0, "", RISK), (0.0, "Read-only file system", WRONG)],
)
def test_trial(seconds: float, trouble: str, expected: Verdict) -> None:
    assert verdicts(judge_trial("store", "/cache", seconds, trouble)) == [expected]


USER = User(name="rust-mirror", uid=100, groups=frozenset((100, 7)))


def owned(role: Role, mode: int, uid: int = 100, gid: int = 100) -> Ownership:
    return Ownership(role=role, path="/x", mode=mode, uid=uid, gid=gid)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(owned(Role.STORE, 0o755), GOOD, id="store"),
        pytest.param(owned(Role.STORE, 0o777), RISK, id="store-open"),
        pytest.param(owned(Role.STORE, 0o755, uid=0, gid=0), WRONG, id="store-of-root"),
        pytest.param(owned(Role.STORE, 0o770, uid=0, gid=7), RISK, id="store-by-group"),
        pytest.param(owned(Role.STATE, 0o700), GOOD, id="state"),
        pytest.param(owned(Role.STATE, 0o750), RISK, id="state-open"),
        pytest.param(owned(Role.OWN, 0o600), GOOD, id="own"),
        pytest.param(owned(Role.OWN, 0o644, uid=0, gid=0), WRONG, id="started-once-as-root"),
        pytest.param(owned(Role.CONFIG, 0o644, uid=0, gid=0), GOOD, id="configuration"),
        pytest.param(owned(Role.CONFIG, 0o600, uid=0, gid=0), WRONG, id="unreadable"),
        pytest.param(owned(Role.CONFIG, 0o666), WRONG, id="anybody-may-configure"),
        pytest.param(owned(Role.PRIVATE, 0o600), GOOD, id="key"),
        pytest.param(owned(Role.PRIVATE, 0o640, uid=0, gid=7), GOOD, id="key-by-group"),
        pytest.param(owned(Role.PRIVATE, 0o644), WRONG, id="key-open"),
        pytest.param(owned(Role.PRIVATE, 0o600, uid=0, gid=0), WRONG, id="key-of-root"),
        pytest.param(Ownership(role=Role.NAMED, path="/x", is_absent=True), WRONG, id="absent"),
        pytest.param(Ownership(role=Role.OWN, path="/x", is_absent=True), GOOD, id="not-yet"),
        pytest.param(Ownership(role=Role.STORE, path="/x", is_absent=True), NOTE, id="no-store"),
        pytest.param(Ownership(role=Role.STORE, path="/x", trouble="denied"), NOTE, id="hidden"),
    ],
)
def test_owners(found: Ownership, expected: Verdict) -> None:
    assert verdicts(judge_owners([found], USER)) == [expected]


def test_root_may_everything() -> None:
    root = User(name="root", uid=0, groups=frozenset())
    assert may(root, owned(Role.PRIVATE, 0o000), 7)


WANTED = Wanted(
    workers=4, max_connections=8192, has_tls=False, hot_memory_bytes=64 << 20, backlog=4096
)
GRANTED = Granted(
    soft_files=65536,
    hard_files=65536,
    all_files=10**6,
    somaxconn=4096,
    memory_bytes=16 * GIB,
    is_mirrors=True,
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, [GOOD, GOOD], id="enough"),
        pytest.param({"soft_files": 1024}, [RISK, GOOD], id="few-files"),
        pytest.param({"soft_files": 1024, "is_mirrors": False}, [GOOD, GOOD], id="soft-is-raised"),
        pytest.param({"hard_files": 4096, "is_mirrors": False}, [RISK, GOOD], id="hard-limit"),
        pytest.param({"soft_files": UNLIMITED}, [GOOD, GOOD], id="unlimited"),
        pytest.param({"soft_files": None}, [NOTE, GOOD], id="unknown-files"),
        pytest.param({"all_files": 20_000}, [GOOD, RISK, GOOD], id="machine-files"),
        pytest.param({"somaxconn": 128}, [GOOD, RISK, GOOD], id="short-queue"),
        pytest.param({"somaxconn": 2048}, [GOOD, NOTE, GOOD], id="shorter-queue"),
        pytest.param({"memory_bytes": 100 << 20}, [GOOD, WRONG], id="no-memory"),
        pytest.param({"memory_bytes": 600 << 20}, [GOOD, RISK], id="memory-for-few"),
        pytest.param({"memory_bytes": None}, [GOOD, NOTE], id="unknown-memory"),
    ],
)
def test_limits(changes: dict[str, int], expected: list[Verdict]) -> None:
    assert verdicts(judge_limits(WANTED, replace(GRANTED, **changes))) == expected  # type: ignore[arg-type]  # by name


CONTENTS = Contents(path="/s", format_found="store 1", format_wanted="store 1", has_blobs=True)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, [], id="well"),
        pytest.param({"format_found": "store 2"}, [WRONG], id="other-format"),
        pytest.param({"format_found": None}, [RISK], id="no-format"),
        pytest.param({"format_found": None, "has_blobs": False}, [], id="empty"),
        pytest.param({"parts": 3, "oldest_part_s": 60.0}, [], id="fills-under-way"),
        pytest.param({"parts": 3, "oldest_part_s": 30 * DAY_S}, [NOTE], id="old-parts"),
        pytest.param({"quarantined": 2}, [NOTE], id="quarantine"),
        pytest.param({"trouble": "Permission denied"}, [NOTE], id="hidden"),
    ],
)
def test_contents(changes: dict[str, object], expected: list[Verdict]) -> None:
    found = replace(CONTENTS, **changes)  # type: ignore[arg-type]  # by name
    assert verdicts(judge_contents(found, GIB)) == expected


@pytest.mark.parametrize(
    ("condition", "has_blobs", "index", "state"),
    [
        (Condition.SOUND, True, GOOD, GOOD),
        (Condition.UNFINISHED, True, GOOD, GOOD),
        (Condition.ABSENT, True, RISK, WRONG),
        (Condition.ABSENT, False, GOOD, GOOD),
        (Condition.DAMAGED, True, WRONG, WRONG),
        (Condition.OTHER, True, WRONG, WRONG),
        (Condition.UNREADABLE, True, NOTE, NOTE),
    ],
)
def test_databases(condition: Condition, has_blobs: bool, index: Verdict, state: Verdict) -> None:
    found = Database(path="/s/x.db", condition=condition)
    assert verdicts(judge_index(found, has_blobs=has_blobs)) == [index]
    assert verdicts(judge_state(found, has_blobs=has_blobs)) == [state]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, []),
        ({"store": {"is_storing": True}}, [GOOD]),
        ({"store": {"is_storing": False, "trouble": {"reason": "full", "hint": "x"}}}, [WRONG]),
        ({"store": {"repair": {}}}, [NOTE]),
        ({"state": {"lost_at": 1.0}}, [RISK]),
        ({"scrub": {"is_enabled": True, "oldest_check_age_s": 5}}, [GOOD]),
        ({"scrub": {"is_enabled": True, "oldest_check_age_s": 9e6}}, [NOTE]),
        ({"scrub": {"is_enabled": False}}, [NOTE]),
        ({"scrub": {"is_enabled": True, "found_total": 2}}, [RISK]),
        ({"store": None, "scrub": 5}, []),
    ],
)
def test_told(status: dict[str, object], expected: list[Verdict]) -> None:
    assert verdicts(judge_told(status, DAY_S)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [GOOD]),
        ({"is_alive": False}, [WRONG]),
        ({"restarts_total": 1}, [NOTE, GOOD]),
        ({"restarts_total": 9}, [RISK, GOOD]),
    ],
)
def test_processes(changes: dict[str, object], expected: list[Verdict]) -> None:
    process = {"name": "keeper", "is_alive": True, "restarts_total": 0, **changes}
    assert verdicts(judge_status({"processes": [process]})) == expected


def test_versions_absence_and_sandbox() -> None:
    versions = Versions(installed="1.2", running="1.2", python=(3, 12, 1), sqlite="3.51.3")
    assert verdicts(judge_versions(versions)) == [GOOD]
    assert verdicts(judge_versions(replace(versions, running="1.1"))) == [RISK, GOOD]
    assert verdicts(judge_versions(replace(versions, python=(3, 10, 1)))) == [WRONG, GOOD]
    assert verdicts(judge_absence("")) == [NOTE]
    assert verdicts(judge_absence("denied")) == [NOTE]
    assert verdicts(judge_elsewhere(["/home/x"])) == [RISK]
    assert verdicts(judge_sandbox("store", "/cache", frozenset(("ro",)))) == [WRONG]
    assert verdicts(judge_sandbox("store", "/cache", frozenset(("rw",)))) == []
