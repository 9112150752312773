"""Whether the disks below the store and the state directory suit a mirror.

Rules:
1. Room is judged against what the configuration may still ask for: the rest of the budget and the
   floor. A budget beyond the disk costs no wrong byte (the floor holds), only what was planned.
2. SQLite's write-ahead log needs memory shared between processes, which network file systems lack.
3. A file system that counts no inodes (btrfs) has no shortage of them.

Units: bytes; seconds.
Does not: ask the disk (`cli.doctor_machine`).
Runs in: commands. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mirror.doctor.findings import Finding
from mirror.doctor.said import good, note, risk, size, span, wrong

SLOW_TRIAL_S = 2.0  # write, fsync and rename of 4 KiB; a disk that turns takes some 0.05
_NETWORK = frozenset(
    ("nfs", "nfs3", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gfs2")
).union(("fuse.sshfs", "fuse.s3fs", "fuse.glusterfs", "fuse.rclone", "fuse.gcsfuse", "virtiofs"))
_MEMORY = frozenset(("tmpfs", "ramfs"))
_LAYERS = frozenset(("overlay", "aufs", "fuse.fuse-overlayfs"))
_WITHOUT_OWNERS = frozenset(("vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk"))
_UNSAFE = frozenset(("nobarrier", "barrier=0", "data=writeback", "async_commit", "nolog"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """The file system below one directory. `inodes` 0: it counts none. `noun` as in the
    configuration: "store" or "state"."""

    noun: str
    path: str
    file_system: str
    options: frozenset[str]
    device: int
    free_bytes: int
    total_bytes: int
    free_inodes: int
    inodes: int

    @property
    def seen(self) -> str:
        return f"{self.path} on {self.file_system or 'an unknown file system'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What `[store]` may ask of its disk; `used_bytes` None: nobody could tell."""

    budget_bytes: int
    used_bytes: int | None
    floor_bytes: int
    floor_inodes: int


def judge_volume(volume: Volume) -> Iterator[Finding]:
    """Say whether the kind of file system and its options fit."""
    subject, kind = f"{volume.noun} disk", volume.file_system
    found = list(_options(volume, subject))
    if kind in _NETWORK:
        sentence = f"is a network file system ({kind}): the databases are not safe on it"
        remedy = f"put [{volume.noun}] path on a local disk"
        found.append(wrong(subject, sentence, remedy, volume.path))
    elif kind in _MEMORY and volume.noun == "state":
        sentence = f"is in memory ({kind}): counters and newest dates end with the machine"
        remedy = "put [state] path on a disk, and back it up"
        found.append(wrong(subject, sentence, remedy, volume.path))
    elif kind in _MEMORY:
        sentence = f"is in memory ({kind}): all is fetched again after a restart of the machine"
        found.append(risk(subject, sentence, "put [store] path on a disk", volume.path))
    elif kind in _WITHOUT_OWNERS:
        sentence = f"knows no owners and modes ({kind}): everybody may write there"
        remedy = "use ext4, xfs, btrfs or zfs"
        found.append(risk(subject, sentence, remedy, volume.path))
    elif kind in _LAYERS:
        sentence = f"is a container's own layer ({kind}), which ends with the container"
        remedy = f"mount a volume at [{volume.noun}] path"
        found.append(note(subject, sentence, remedy, volume.path))
    yield from found or [good(subject, "a local file system, writable", volume.seen)]


def _options(volume: Volume, subject: str) -> Iterator[Finding]:
    if "ro" in volume.options:
        remedy = (
            "mount it writable (under systemd: ReadWritePaths= or CacheDirectory=, StateDirectory="
            "); one that became read-only by itself has met errors: see the kernel messages"
        )
        yield wrong(subject, "is mounted read-only", remedy, volume.seen)
    if unsafe := sorted(volume.options & _UNSAFE):
        sentence = f"may lose or mix up what was written, at a power cut ({', '.join(unsafe)})"
        yield risk(subject, sentence, "mount it without these options", volume.seen)
    if "sync" in volume.options:
        sentence = "writes every piece through at once: fills are slow"
        yield risk(subject, sentence, "mount it without `sync`", volume.seen)


def judge_room(store: Volume, room: Room) -> Iterator[Finding]:
    """Say whether the budget and the floors fit on the store's disk."""
    free, floor = store.free_bytes, room.floor_bytes
    subject = "store room"
    if free < floor:
        sentence = f"{size(free)} are free, and {size(floor)} are to stay free: nothing is stored"
        yield wrong(subject, sentence, "free space there, or lower [store] free_floor", store.seen)
    else:
        yield _budget(store, room, subject)
    if store.inodes and store.free_inodes < room.floor_inodes:
        sentence = (
            f"{store.free_inodes:,} inodes are free, and {room.floor_inodes:,} are to stay free: "
            "nothing is stored"
        )
        remedy = "remove files there, or lower [store] free_inodes"
        yield wrong("store inodes", sentence, remedy, store.seen)
    elif store.inodes and store.free_inodes < 2 * room.floor_inodes:
        sentence = f"only {store.free_inodes:,} of {store.inodes:,} inodes are free"
        yield risk("store inodes", sentence, "remove files there, or take another disk", store.seen)


def _budget(store: Volume, room: Room, subject: str) -> Finding:
    to_come = max(0, room.budget_bytes - (room.used_bytes or 0))
    lacking = to_come + room.floor_bytes - store.free_bytes
    told = (
        f"{size(store.free_bytes)} are free for {size(to_come)} more and {size(room.floor_bytes)}"
    )
    if lacking <= 0:
        return good(subject, f"{told} to stay free", store.seen)
    if room.used_bytes is None:
        sentence = f"{told} to stay free, unless a part of the budget is used already"
        return note(subject, sentence, "run it as root or as the mirror's user", store.seen)
    fitting = max(0, room.budget_bytes - lacking)
    remedy = f"lower [store] budget to {size(fitting)} or less, or make the disk larger"
    return risk(subject, f"{told} to stay free: {size(lacking)} too few", remedy, store.seen)


def judge_state_room(state: Volume) -> Iterator[Finding]:
    """Say whether the ledger and the state database can grow."""
    least = 250_000_000  # where the alert RustMirrorStateDiskFull begins
    if state.free_bytes < least:
        sentence = f"{size(state.free_bytes)} are free: newest dates and counters may get lost"
        yield wrong("state room", sentence, f"keep {size(least)} free there", state.seen)
    if state.inodes and state.free_inodes < 100:
        sentence = f"{state.free_inodes} inodes are free: its journals need some"
        yield wrong("state inodes", sentence, "remove files there", state.seen)


def judge_together(volumes: Sequence[Volume], floor_bytes: int) -> Iterator[Finding]:
    """Say whether store and state share a disk without protection."""
    devices = {volume.device for volume in volumes}
    if len(volumes) == 2 and len(devices) == 1 and not floor_bytes:
        sentence = "lie on one file system, which the store may fill to the last byte"
        remedy = 'set [store] free_floor (by default "256MiB"), or put [state] path elsewhere'
        yield risk("store and state", sentence, remedy)


def judge_trial(noun: str, path: str, seconds: float, trouble: str) -> Finding:
    """Say how a file was written, synced and renamed there; `trouble` "": it was."""
    subject = f"{noun} writing"
    if trouble:
        remedy = f"see that the mirror's user may write there, and the disk's state: [{noun}] path"
        return wrong(
            subject, f"a file cannot be written, synced and renamed: {trouble}", remedy, path
        )
    took = f"a file was written, synced and renamed in {span(seconds)}"
    if seconds > SLOW_TRIAL_S:
        remedy = "see what else writes there (iostat -x), and the disk's health (smartctl)"
        return risk(subject, f"{took}: every object stored waits for that", remedy, path)
    return good(subject, took, path)
