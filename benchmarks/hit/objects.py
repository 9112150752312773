"""The objects that all servers serve, as a folder that one origin serves to each of them.

Rules:
1. Every object is one that the mirror checks before it stores it: index files name their crate on
   every line, archives have their digest beside them. No check is switched off for a benchmark.
2. Contents differ from object to object, so that a server that mixes them up is found out.
3. The folder's paths are the targets, `/index/…` and `/dist/…`; nginx serves it statically too.

Units: bytes. Runs in: benchmark.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

KB = 1_000
MB = 1_000_000
# Above this an object is an archive with a digest beside it: index files stay below 1 MB.
LARGEST_INDEX_FILE = 100 * KB
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSet:
    """`count` objects of about `size` bytes; one URI or many is a matter of `count`."""

    size: int
    count: int

    @property
    def name(self) -> str:
        return f"{size_name(self.size)}, {self.count:,} URI{'' if self.count == 1 else 's'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was written: the targets and the exact lengths and digests of their contents."""

    targets: tuple[str, ...]
    lengths: tuple[int, ...]
    digests: tuple[bytes, ...]


def size_name(size: int) -> str:
    return f"{size // MB} MB" if size >= MB else f"{size // KB} KB"


def publish(root: Path, wanted: ObjectSet) -> Published:
    """Write the objects of `wanted` below `root`; the same call writes the same bytes."""
    targets, lengths, digests = [], [], []
    is_index = wanted.size <= LARGEST_INDEX_FILE
    noise = b"" if is_index else random.Random(wanted.size).randbytes(wanted.size)
    for number in range(wanted.count):
        if is_index:
            target, content = _index_file(wanted.size, number)
        else:
            target = archive_target(wanted.size, number)
            content = number.to_bytes(4, "big") + noise[4:]
        path = root / target.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        digest = hashlib.sha256(content)
        if not is_index:
            path.with_name(path.name + ".sha256").write_text(f"{digest.hexdigest()}  {path.name}\n")
        targets.append(target)
        lengths.append(len(content))
        digests.append(digest.digest())
    return Published(targets=tuple(targets), lengths=tuple(lengths), digests=tuple(digests))


def archive_target(size: int, number: int) -> str:
    """Return the target of an archive; its version says the size in MB and the number."""
    return f"/dist/2026-01-01/rust-{size // MB}.{number}.0-x86_64-unknown-linux-gnu.tar.xz"


def crate_name(size: int, number: int) -> str:
    """Return a crate's name that differs by size and number, of one length for one size."""
    letters = [_LETTERS[number // 26**place % 26] for place in range(4)]
    return f"{''.join(letters)}-bench{size // KB}k"


def _index_file(size: int, number: int) -> tuple[str, bytes]:
    """Lines of the usual length, 200 bytes, until `size` is reached."""
    name = crate_name(size, number)
    lines = []
    for patch in range(max(round(size / 200), 1)):
        digest = hashlib.sha256(f"{name} {patch}".encode()).hexdigest()
        lines.append(
            f'{{"name":"{name}","vers":"1.0.{patch}","deps":[],"cksum":"{digest}",'
            f'"features":{{"default":["std"],"std":["alloc"]}},"yanked":false,"v":2}}'
        )
    return f"/index/{name[:2]}/{name[2:4]}/{name}", "\n".join(lines).encode() + b"\n"
