"""Detached signatures over a large body, beside plain hashing: speed and memory.

Rules:
1. Each case runs in a process of its own, so that one case's memory is not another's.
2. The body is read once before, so that disks are not measured; all cases read it alike.
3. Speed is that of the stream and the verdict; memory counts from before the verifier is loaded.
4. A signature that is not proved ends the benchmark.

Units: MiB/s; bytes. Runs in: benchmark (`python -m benchmarks.signatures`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.processes import memory
from benchmarks.results import ROOT, write_result

CASES = ("sha256", "sha512", "signature")
READ_BYTES = 256 << 10
SIGNED_AT = 1_750_000_000
RSS_GROWTH_LIMIT_BYTES = 30 << 20

_Steps = tuple[Callable[[memoryview], None], Callable[[], object]]  # update, finish


def main() -> int:
    """Run the benchmark; with `--require` return 1 when memory grows beyond the limit."""
    arguments = _arguments()
    if arguments.case:
        print(json.dumps(_run_case(arguments.case, arguments.folder)))
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        _write_signed_body(folder, arguments.size_mib)
        # Interleaved, so that a slow moment of the machine meets every case.
        rounds = [
            (case, _measured(case, folder)) for _ in range(arguments.rounds) for case in CASES
        ]
    cases = {
        case: {
            "mib_per_s": round(
                arguments.size_mib / statistics.median(r["took_s"] for c, r in rounds if c == case)
            ),
            "rss_growth_bytes": max(r["rss_growth_bytes"] for c, r in rounds if c == case),
            "peak_rss_bytes": max(r["peak_rss_bytes"] for c, r in rounds if c == case),
            "rounds": [r for c, r in rounds if c == case],
        }
        for case in CASES
    }
    _print(cases)
    path = write_result("signatures", {"content_bytes": arguments.size_mib << 20, "cases": cases})
    print(f"\nwritten: {path.name}")
    is_within = cases["signature"]["rss_growth_bytes"] <= RSS_GROWTH_LIMIT_BYTES
    return 0 if is_within or not arguments.require else 1


def _write_signed_body(folder: Path, size_mib: int) -> None:
    # Only here: the measured processes must not hold what signing needs.
    from mirror.simulator.openpgp_signer import Signer

    body = folder / "body"
    with body.open("wb") as file:
        for _ in range(size_mib):
            file.write(os.urandom(1 << 20))
    signer = Signer()
    (folder / "key.asc").write_bytes(signer.public_key())
    (folder / "fingerprint").write_text(signer.fingerprint)
    (folder / "body.asc").write_bytes(
        signer.detached_signature(map(bytes, _pieces(body)), SIGNED_AT)
    )


def _measured(case: str, folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.signatures", "--case", case, "--folder", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _run_case(case: str, folder: Path) -> dict[str, float]:
    before = memory(os.getpid(), case)
    update, finish = _check(folder) if case == "signature" else _plain_hash(case)
    started_at = time.perf_counter()
    for piece in _pieces(folder / "body"):
        update(piece)
    finish()
    took_s = time.perf_counter() - started_at
    after = memory(os.getpid(), case)
    return {
        "took_s": round(took_s, 4),
        "rss_growth_bytes": after.peak_rss_bytes - before.rss_bytes,
        "peak_rss_bytes": after.peak_rss_bytes,
    }


def _plain_hash(case: str) -> _Steps:
    digest = hashlib.new(case)
    return digest.update, digest.digest


def _check(folder: Path) -> _Steps:
    # Imported inside, so that what OpenSSL's binding takes counts as growth of memory.
    from mirror.verify.openpgp import SignatureCheck, read_release_key, read_signature

    pins = [(folder / "fingerprint").read_text()]
    key = read_release_key((folder / "key.asc").read_bytes(), pins, "key")
    signature = read_signature((folder / "body.asc").read_bytes(), "signature")
    check = SignatureCheck(signature, key, "body")
    return check.update, check.finish


def _pieces(path: Path) -> Iterator[memoryview]:
    """Yield the file through one buffer."""
    buffer = memoryview(bytearray(READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while got := file.readinto(buffer):
            yield buffer[:got]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.signatures", description=__doc__)
    parser.add_argument("--size-mib", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--require", action="store_true", help="fail when memory grows too much")
    parser.add_argument("--case", choices=CASES, help="run one case here (for the benchmark)")
    parser.add_argument("--folder", type=Path, help="of the signed body (for the benchmark)")
    return parser.parse_args()


def _print(cases: dict[str, dict[str, object]]) -> None:
    print(f"{'':>12}{'MiB/s':>8}{'RSS growth MiB':>17}{'peak RSS MiB':>15}")
    for case, figures in cases.items():
        growth, peak = (int(str(figures[name])) for name in ("rss_growth_bytes", "peak_rss_bytes"))
        speed = figures["mib_per_s"]
        print(f"{case:>12}{speed:>8}{growth / 2**20:>17.1f}{peak / 2**20:>15.1f}")


if __name__ == "__main__":
    sys.exit(main())
