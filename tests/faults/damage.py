"""Damage to stored files: what a disk, a tool or a person may do to them.

Rules:
1. Each kind leaves a file that is not what its name says; `inflict` makes sure of it.
2. The modification time is put back. Inode and ctime are as the kernel has it: that is what an
   attested file shows.
3. `hide` makes the damage invisible at open, as rot beneath an unchanged inode is: it writes the
   damaged file's identity into the index. The mirror must not run.

Runs in: tests.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path


class Damage(enum.Enum):
    FLIP = "flip"  # one bit
    CUT = "cut"
    EXTEND = "extend"
    ZERO = "zero"  # a block of zeros where there was content
    SWAP = "swap"  # with the file of another object, by renames


def inflict(kind: Damage, path: Path, other: Path) -> list[Path]:
    """Damage `path` (for a swap `other` too); return the files that are wrong then."""
    wrong = [path, other] if kind is Damage.SWAP else [path]
    times = {each: os.stat(each) for each in wrong}
    if kind is Damage.SWAP:
        _swap(path, other)
    else:
        _damage(kind, path)
    for each in wrong:
        os.utime(each, ns=(times[each].st_atime_ns, times[each].st_mtime_ns))
        content = each.read_bytes()
        if hashlib.sha256(content).hexdigest() == each.name:
            raise AssertionError(f"{kind} left {each} as it was")
    return wrong


def _damage(kind: Damage, path: Path) -> None:
    size = path.stat().st_size
    os.chmod(path, 0o600)
    with path.open("r+b") as file:
        if kind is Damage.FLIP:
            file.seek(size // 2)
            byte = file.read(1)[0]
            file.seek(size // 2)
            file.write(bytes([byte ^ 0x10]))
        elif kind is Damage.CUT:
            file.truncate(size - size // 3 - 1)
        elif kind is Damage.EXTEND:
            file.seek(size)
            file.write(b"and more")
        else:
            file.seek(size // 4)
            file.write(bytes(size // 2 + 1))


def _swap(path: Path, other: Path) -> None:
    aside = path.with_suffix(".aside")
    os.rename(path, aside)
    os.rename(other, path)
    os.rename(aside, other)


def hide(index: Path, files: Iterable[Path]) -> None:
    """Let the index attest the files as they are."""
    with contextlib.closing(sqlite3.connect(index)) as database, database:
        for file in files:
            found = os.lstat(file)
            changed = database.execute(
                "UPDATE blob SET inode = ?, length = ?, ctime_ns = ? WHERE digest = ?",
                (found.st_ino, found.st_size, found.st_ctime_ns, bytes.fromhex(file.name)),
            )
            if changed.rowcount != 1:
                raise AssertionError(f"the index has no row for {file.name}")
