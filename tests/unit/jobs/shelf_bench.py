"""A small store with a signed release in it, and its parts one by one, for the tests of this room.

Runs in: tests.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from mirror.config import Config, State, Trust
from mirror.config import Store as StoreSettings
from mirror.jobs.chain import Chain
from mirror.jobs.shelf import Shelf
from mirror.jobs.store_check import Report, StoreCheck
from mirror.jobs.vouching import Vouching
from mirror.simulator.openpgp_signer import Signer
from mirror.store.entry import Entry, former_key
from mirror.store.inspection import Extent, Inspection
from mirror.store.store import Store
from tests.unit.store.bench import START_AT, Bench, entry_of

DAY = "2026-03-05"
HEAD = "releases:/dist/channel-rust-stable.toml"
DATED = f"releases:/dist/{DAY}/channel-rust-stable.toml"
ARCHIVE = f"releases:/dist/{DAY}/rustc-1.94.0-x86_64-unknown-linux-gnu.tar.xz"
CRATE = "crates:/crates/serde/serde-1.0.0.crate"
INDEX = "index:/se/rd/serde"
KEY = "releases:/rust-key.gpg.ascii"
SIGNED_AT = 1_690_000_000
SIGNER = Signer()


class Quiet:
    """A Watch that only counts."""

    def __init__(self) -> None:
        self.read_bytes = self.files = self.entries = 0
        self.extent: Extent | None = None

    def begin(self, extent: Extent) -> None:
        self.extent = extent

    def read(self, size_bytes: int) -> None:
        self.read_bytes += size_bytes

    def file_done(self) -> None:
        self.files += 1

    def entry_done(self) -> None:
        self.entries += 1


class ShelfBench:
    """Stores objects with what vouches for them, then checks them from outside."""

    def __init__(self, bench: Bench, store: Store) -> None:
        self.bench = bench
        self.store = store
        self.trust: dict[str, Any] = {
            "channel_manifest": "signature",
            "release_key_fingerprints": (SIGNER.fingerprint,),
        }

    def put(self, key: str, content: bytes, **fields: Any) -> Entry:
        entry = replace(entry_of(key, content, proof="parsed"), verified_at=START_AT, **fields)
        return self.store.put_small([(entry, content)])[0].entry

    def put_generation(
        self, key: str, manifest: bytes, *, proof: str = "signed-generation", former: bool = False,
        **files: bytes,
    ) -> str:  # fmt: skip
        """Store three files (`sha256=`, `asc=` replace what they would be); return the voucher."""
        voucher = f"{key}@{hashlib.sha256(manifest).hexdigest()}"
        line = f"{hashlib.sha256(manifest).hexdigest()}  manifest\n".encode()
        contents = {
            "": manifest,
            ".sha256": files.get("sha256", line),
            ".asc": files.get("asc", sign(manifest)),
        }
        for suffix, content in contents.items():
            name = former_key(key + suffix) if former else key + suffix
            if content:
                self.put(name, content, proof=proof, voucher=voucher)
        return voucher

    def put_key(self) -> None:
        self.put(KEY, SIGNER.public_key(), proof="key", voucher=SIGNER.fingerprint)

    def chain(self, key: str, *, is_whole: bool = True) -> Chain:
        inspection, check = self._check(is_whole=is_whole)
        stored = inspection.lookup(key)
        assert stored is not None
        chain = check.chain(stored.entry)
        inspection.close()
        return chain

    def report(self, watch: Quiet | None = None) -> Report:
        inspection, check = self._check(is_whole=False)
        report = check.run(watch or Quiet())
        inspection.close()
        return report

    def _check(self, *, is_whole: bool) -> tuple[Inspection, StoreCheck]:
        config = Config(
            store=StoreSettings(path=self.bench.store_config.path),
            state=State(path=self.bench.state_config.path),
            trust=Trust(**self.trust),
        )
        inspection = Inspection(config.store.path)
        shelf = Shelf(inspection, config.store.path)
        vouching = Vouching(shelf, config, is_whole=is_whole)
        return inspection, StoreCheck(shelf, vouching, self.bench.layout, now=float("inf"))


def sign(content: bytes) -> bytes:
    return SIGNER.detached_signature([content], SIGNED_AT)


def manifest_of(**digests: bytes) -> bytes:
    """Return a manifest of `DAY` that states these digests: `archive=` that of ARCHIVE."""
    stated = digests.get("archive", bytes(32)).hex()
    url = "https://static.rust-lang.org" + ARCHIVE.partition(":")[2]
    return (
        f'manifest-version = "2"\ndate = "{DAY}"\n'
        "[pkg.rustc.target.x86_64-unknown-linux-gnu]\navailable = true\n"
        f'xz_url = "{url}"\nxz_hash = "{stated}"\n'
    ).encode()


def index_of(**versions: bytes) -> bytes:
    lines = [
        f'{{"name":"serde","vers":"{vers[1:].replace("_", ".")}","cksum":"{cksum.hex()}"}}'
        for vers, cksum in versions.items()
    ]
    return "\n".join(lines).encode() + b"\n"
