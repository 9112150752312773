"""Who may read and write the files of a mirror.

Rules:
1. Judged is the user that the mirror runs as, which need not be the one who asks: by owner, group
   and mode. Access control lists are not seen.
2. A private key is for its owner and, at most, a group; what the mirror obeys (configuration,
   store, state) nobody else may write.

Runs in: commands. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mirror.doctor.findings import Finding
from mirror.doctor.said import good, note, risk, wrong

_READ, _WRITE, _ENTER = 4, 2, 1


class Role(enum.Enum):
    """What a path is for; `value` is what people call it."""

    STORE = "store directory"
    STATE = "state directory"
    OWN = "file of the mirror"  # below the two: the mirror must be able to replace it
    CONFIG = "configuration file"
    PRIVATE = "private key file"
    NAMED = "file"  # that the configuration names, to be read


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """`groups` are those that the mirror's processes have."""

    name: str
    uid: int
    groups: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """What stat says of a path. `trouble`: why it says nothing; `is_absent`: there is none."""

    role: Role
    path: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    is_absent: bool = False
    trouble: str = ""
    key: str = ""  # which key of the configuration names it


def may(user: User, found: Ownership, wanted: int) -> bool:
    """Whether the mode bits allow `wanted` (read 4, write 2, enter 1) to `user`."""
    if user.uid == 0:
        return True
    if found.uid == user.uid:
        return (found.mode >> 6) & wanted == wanted
    if found.gid in user.groups:
        return (found.mode >> 3) & wanted == wanted
    return found.mode & wanted == wanted


def judge_owners(files: Sequence[Ownership], user: User) -> Iterator[Finding]:
    """Say what is not as it should be; one line when all of it is."""
    findings = [finding for found in files for finding in _judge(found, user)]
    yield from findings
    if not findings:
        yield good("permissions", f"{len(files)} paths fit the user {user.name}")


def _judge(found: Ownership, user: User) -> Iterator[Finding]:
    subject, seen = found.role.value, f"{found.path} ({found.key})" if found.key else found.path
    if found.trouble:
        sentence = f"could not be looked at: {found.trouble}"
        yield note(subject, sentence, "run it as root or as the mirror's user", seen)
    elif found.is_absent:
        yield from _absent(found, subject, seen)
    elif found.role in (Role.STORE, Role.STATE):
        yield from _directory(found, user, subject, seen)
    elif found.role is Role.OWN:
        if not may(user, found, _READ | _WRITE):
            sentence = f"belongs to user id {found.uid}: the mirror ({user.name}) cannot write it"
            remedy = f"chown {user.name} {found.path}; do not start the mirror as another user"
            yield wrong(subject, sentence, remedy, seen)
    else:
        yield from _file(found, user, subject, seen)


def _absent(found: Ownership, subject: str, seen: str) -> Iterator[Finding]:
    if found.role in (Role.STORE, Role.STATE):
        remedy = "start the mirror once: it makes it; or name the one meant: --config, --set"
        yield note(subject, "does not exist", remedy, seen)
    elif found.role is not Role.OWN:
        yield wrong(subject, "does not exist", f"put it there, or correct {found.key}", seen)


def _directory(found: Ownership, user: User, subject: str, seen: str) -> Iterator[Finding]:
    if not may(user, found, _READ | _WRITE | _ENTER):
        sentence = (
            f"is not {user.name}'s to write (owner {found.uid}, mode {found.mode & 0o777:04o})"
        )
        yield wrong(subject, sentence, f"chown -R {user.name} {found.path}", seen)
    if found.role is Role.STATE and found.mode & 0o077:
        sentence = (
            f"is open to other users (mode {found.mode & 0o777:04o}): it holds control sockets"
        )
        yield risk(subject, sentence, f"chmod 0700 {found.path}", seen)
    if found.role is Role.STORE and found.mode & 0o022:
        sentence = f"may be written by other users (mode {found.mode & 0o777:04o})"
        yield risk(subject, sentence, f"chmod go-w {found.path}", seen)


def _file(found: Ownership, user: User, subject: str, seen: str) -> Iterator[Finding]:
    if not may(user, found, _READ):
        sentence = f"cannot be read by the mirror's user, {user.name}"
        remedy = f"chown {user.name} {found.path}, or chgrp and chmod 0640"
        yield wrong(subject, sentence, remedy, seen)
    if found.role is Role.PRIVATE and found.mode & 0o007:
        sentence = f"is open to every user of this machine (mode {found.mode & 0o777:04o})"
        yield wrong(subject, sentence, f"chmod 0600 {found.path}, and make a new key", seen)
    elif found.mode & 0o002:
        sentence = f"may be written by every user of this machine (mode {found.mode & 0o777:04o})"
        yield wrong(subject, sentence, f"chmod o-w {found.path}", seen)
