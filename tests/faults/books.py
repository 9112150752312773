"""What must agree in a store whatever happened to its processes: disk, index, sum, temps.

Rules:
1. Every file below `blobs/` has the digest that is its name, and a row; every row has its file.
2. An entry whose file is stored states its length.
3. The bytes that the running keeper counts are the ones on the disk.
4. A temp lies beside a record with which a later flight can go on; no record lies alone.
5. A mirror at work changes all of them, so a difference counts when it stays.

Units: bytes. Does not: write. Runs in: tests, benchmark.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mirror.cli.control_socket import ask_control
from mirror.errors import StoreError
from mirror.jobs.shelf import Shelf, open_shelf
from mirror.store.budget import footprint
from mirror.store.layout import RECORD_SUFFIX
from mirror.store.partial_record import PartialRecord
from tests.faults.fault_edge import FaultEdge
from tests.scenario.body_checker import Known
from tests.scenario.edge import Edge, wait_until

DEADLINE_S = 30.0


class Books:
    """The audit of one mirror's store; a file is hashed once per inode and ctime."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._hashed: dict[tuple[int, int], str] = {}
        self.audits_total = 0
        self.files_total = 0

    def require_agreement(self, *, without_temps: bool = False) -> None:
        """Raises AssertionError with what still differs after the deadline."""
        differences: list[str] = []

        def agree() -> bool:
            differences[:] = self.differences(without_temps=without_temps)
            return not differences

        try:
            wait_until(agree, "the books agree", DEADLINE_S)
        except AssertionError as exc:
            raise AssertionError(f"{exc}: {differences[:5]}") from exc
        self.audits_total += 1

    def differences(self, *, without_temps: bool = False) -> list[str]:
        """Return what does not agree at this moment; a running keeper is needed for the sum."""
        try:
            used = _used_bytes(self._edge)
            folder = self._edge.store / "partial"
            files, temps = self._files(), _temps(folder)
            found = self._compare(files)
            found += _temp_faults(folder, temps, without_temps=without_temps)
        except (StoreError, OSError, ValueError) as exc:
            return [f"cannot be read: {exc}"]
        on_disk = sum(map(footprint, files.values())) + sum(
            footprint(size) for name, size in temps.items() if not name.endswith(RECORD_SUFFIX)
        )
        if used != on_disk:
            found.append(f"{used} bytes are counted, {on_disk} are on the disk")
        return found

    def _compare(self, files: dict[str, int]) -> list[str]:
        with open_shelf(str(self._edge.store)) as shelf:
            rows, misnamed = _rows(shelf), _misnamed(shelf)
        found = [f"{name} has no row" for name in files.keys() - rows.keys()]
        found += [f"{name} has no file" for name in rows.keys() - files.keys()]
        found += [f"{key} states another length" for key in misnamed]
        both = files.keys() & rows.keys()
        found += [f"{name} is {files[name]} bytes" for name in both if files[name] != rows[name]]
        return found

    def _files(self) -> dict[str, int]:
        """Return the sizes of the blobs. Raises OSError, also when one goes meanwhile."""
        sizes = {}
        for name, path in self._edge.blobs().items():
            seen = path.stat()
            identity = (seen.st_ino, seen.st_ctime_ns)
            if identity not in self._hashed:
                with path.open("rb") as file:
                    self._hashed[identity] = hashlib.file_digest(file, "sha256").hexdigest()
                self.files_total += 1
            if self._hashed[identity] != name:
                raise ValueError(f"{path} is {self._hashed[identity]}")
            sizes[name] = seen.st_size
        return sizes


def _used_bytes(edge: Edge) -> int:
    status = ask_control(str(edge.state), "/status")
    if status is None or "used_bytes" not in status["store"]:
        raise ValueError("no keeper answers")
    return int(status["store"]["used_bytes"])


def _rows(shelf: Shelf) -> dict[str, int]:
    """Return the files that the index knows, with their sizes."""
    rows: dict[str, int] = {}
    last = b""
    while page := shelf.index.blobs_after(last):
        rows |= {row.digest.hex(): row.attestation.size for row in page}
        last = page[-1].digest
    return rows


def _misnamed(shelf: Shelf) -> list[str]:
    """Return the keys whose entry states another length than its file has."""
    found: list[str] = []
    last = ""
    while page := shelf.index.entries_after(last):
        found += [
            row.entry.key
            for row in page
            if row.stored
            and row.stored.attestation
            and row.stored.attestation.size != row.entry.length
        ]
        last = page[-1].entry.key
    return found


def _temps(folder: Path) -> dict[str, int]:
    return {name: os.stat(folder / name).st_size for name in os.listdir(folder)}


def _temp_faults(folder: Path, temps: Mapping[str, int], *, without_temps: bool) -> list[str]:
    if without_temps:
        return [
            f"{name} is left: {(folder / name).read_text()}"
            for name in temps
            if name.endswith(RECORD_SUFFIX)
        ] or [f"{name} is left" for name in temps]
    contents = {name for name in temps if not name.endswith(RECORD_SUFFIX)}
    records = {name.removesuffix(RECORD_SUFFIX) for name in temps if name not in contents}
    found = [f"{name} is one of a temp and its record" for name in contents ^ records]
    return found + [
        f"{name} cannot be resumed"
        for name in contents & records
        if not _is_usable(folder / (name + RECORD_SUFFIX))
    ]


def _is_usable(path: Path) -> bool:
    return msgspec.json.decode(path.read_bytes(), type=PartialRecord).is_resumable


def unfinished(store: Path) -> list[Known]:
    """Return what a kill broke off and nobody has asked for again."""
    paths = (store / "partial").glob("*" + RECORD_SUFFIX)
    records = [msgspec.json.decode(path.read_bytes(), type=PartialRecord) for path in paths]
    return [
        Known(path=record.key.partition(":")[2], sha256=record.digest)
        for record in records
        if record.digest
    ]


def require_sound(edge: FaultEdge) -> None:
    """Check the whole store as `rust-mirror verify --all` does. Raises AssertionError."""
    command = edge.verb("verify", "--all", "--json")
    printed = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(printed.stdout)
    assert printed.returncode == 0, printed.stdout
    assert report["strays"] == 0, printed.stdout
