"""Everything on disk checked again: every file once, then what vouches for every entry.

Rules:
1. Files are read in the order of their digests, each once, however many keys name it; entries are
   judged in the order of their keys. Memory holds a page and what is wrong, not the store.
2. A mirror may run meanwhile: what is wrong at first sight is looked at again; what was evicted,
   replaced or quarantined in between is no error.
3. Nothing is written. The running mirror puts right what it notices; the report says when it
   cannot notice.

Units: bytes, Unix seconds.
Runs in: commands and keeper (jobs); one thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from mirror.jobs.chain import Chain, Grade, Step, good, moment, note, own_fault, wrong
from mirror.jobs.shelf import Shelf
from mirror.jobs.variant_check import wrong_variants
from mirror.jobs.vouching import Vouching
from mirror.route.match import route_of_key
from mirror.store.blob_reading import Fault, Judgement, identify, judge
from mirror.store.entry import Entry, former_key
from mirror.store.inspection import BlobRow, Extent, VariantRow
from mirror.store.layout import Layout, digest_of_name

_TRIES = 3  # a file that changes under each of these reads is told as it is
_SHOWN_STRAYS = 20
_DENIED = os.strerror(errno.EACCES)
_FORMER = former_key("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One wrong object: `key` "" when no key names the file; `got` a digest or what happened."""

    key: str
    path: str
    expected: str
    got: str
    reason: str
    advice: str


@dataclass(slots=True, kw_only=True)
class ClassSums:
    """What was found of one class of content."""

    objects: int = 0
    size_bytes: int = 0
    good: int = 0
    weak: int = 0
    wrong: int = 0


@dataclass(slots=True, kw_only=True)
class Report:
    """What the whole check came to. `reasons` counts why objects are weak."""

    files: int = 0
    file_bytes: int = 0
    absences: int = 0
    unbacked: int = 0  # entries whose file left the index meanwhile, or in a crash: misses
    classes: dict[str, ClassSums] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    wrong: list[Finding] = field(default_factory=list)
    strays: int = 0
    stray_paths: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.wrong


class Watch(Protocol):
    """Whoever shows how far the check is."""

    def begin(self, extent: Extent) -> None: ...

    def read(self, size_bytes: int) -> None: ...

    def file_done(self) -> None: ...

    def entry_done(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """What is wrong with a file; `is_noticed`: the mirror does not serve it unseen."""

    got: str
    reason: str
    is_noticed: bool


class StoreCheck:
    """The check of one store; `now` is when it begins."""

    def __init__(self, shelf: Shelf, vouching: Vouching, layout: Layout, *, now: float) -> None:
        self._shelf = shelf
        self._vouching = vouching
        self._layout = layout
        self._now = now
        self._faults: dict[bytes, _Fault] = {}

    def chain(self, entry: Entry) -> Chain:
        """Check one object: its bytes, then what vouches for them. Raises StoreError."""
        if entry.status != 200:
            text = f"upstream had no such object, last asked on {moment(entry.confirmed_at)}"
            return Chain(entry=entry, steps=(note(entry.key, text),))
        row = self._shelf.index.blob(entry.digest)
        fault = None if row is None else self._file_fault(row, lambda _: None)
        if row is None:
            return Chain(entry=entry, steps=(wrong(entry.key, "its file is not in the index"),))
        if fault is not None:
            advice = self._advice(fault, entry.digest)
            first = wrong(entry.key, f"{fault.reason}: {fault.got}; {advice}")
        else:
            text = f"the {entry.length:,} bytes on disk hash to {entry.digest.hex()}"
            first = good(entry.key, text)
        return Chain(entry=entry, steps=(first, *self._vouching.steps(entry)))

    def run(self, watch: Watch) -> Report:
        """Check everything. Raises StoreError when the index cannot be read."""
        report = Report()
        watch.begin(self._shelf.index.extent())
        for row in self._blobs():
            self._check_file(row, report, watch)
        for entry, is_backed in self._entries():
            self._check_entry(entry, is_backed, report)
            watch.entry_done()
        self._name_unnamed(report)
        for variant, got in wrong_variants(self._shelf, self._faults):
            report.wrong.append(self._wrong_variant(variant, got))
        for path in self._strays():
            report.strays += 1
            if report.strays <= _SHOWN_STRAYS:
                report.stray_paths.append(path)
        return report

    def _blobs(self) -> Iterator[BlobRow]:
        last = b""
        while page := self._shelf.index.blobs_after(last):
            yield from page
            last = page[-1].digest

    def _entries(self) -> Iterator[tuple[Entry, bool]]:
        last = ""
        while page := self._shelf.index.entries_after(last):
            yield from ((row.entry, row.stored is not None) for row in page)
            last = page[-1].entry.key

    def _check_file(self, row: BlobRow, report: Report, watch: Watch) -> None:
        fault = self._file_fault(row, watch.read)
        report.files += 1
        report.file_bytes += row.attestation.size
        watch.file_done()
        if fault is not None:
            self._faults[row.digest] = fault

    def _file_fault(self, row: BlobRow, progress: Callable[[int], None]) -> _Fault | None:
        """Return what is wrong with a file that is still in the index."""
        path = self._shelf.path(row.digest)
        fault: _Fault | None = None
        for _ in range(_TRIES):
            before = identify(path)
            found = judge(path, row.digest, progress=progress)
            if found.fault is None:
                return None
            fault = _fault_of(found.fault, found, is_attested=before == row.attestation)
            if found.fault is Fault.MOVING:
                continue
            again = self._shelf.index.blob(row.digest)  # rule 2
            if again is None:
                return None
            if identify(path) == before and again == row:
                return fault
            row = again
        return fault

    def _check_entry(self, entry: Entry, is_backed: bool, report: Report) -> None:
        if entry.status != 200:
            report.absences += 1
            return
        fault = self._faults.get(entry.digest)
        if fault is None and not is_backed:
            report.unbacked += 1
            return
        sums = report.classes.setdefault(_class_of(entry.key), ClassSums())
        sums.objects += 1
        sums.size_bytes += entry.length
        if fault is not None:
            sums.wrong += 1
            report.wrong.append(self._finding(entry.key, entry.digest, fault))
            return
        chain = self._judged(entry)
        grade, why = (Grade.GOOD, "") if chain is None else chain.own
        if grade is Grade.WRONG and chain is not None:
            sums.wrong += 1
            report.wrong.append(self._disagreeing(chain))
        elif grade is Grade.GOOD:
            sums.good += 1
        else:
            sums.weak += 1
            report.reasons[why] = report.reasons.get(why, 0) + 1

    def _judged(self, entry: Entry) -> Chain | None:
        """Return the chain; None when the entry was replaced while it was looked at."""
        chain = Chain(entry=entry, steps=self._bytes_and(self._vouching.steps(entry), entry))
        if chain.own[0] is not Grade.WRONG:
            return chain
        again = self._shelf.lookup(entry.key)  # rule 2
        if again is None or again.entry.digest != entry.digest:
            return None
        self._vouching.forget()
        steps = self._bytes_and(self._vouching.steps(again.entry), again.entry)
        return Chain(entry=again.entry, steps=steps)

    def _bytes_and(self, steps: tuple[Step, ...], entry: Entry) -> tuple[Step, ...]:
        return (good(entry.key, "its bytes were hashed"), *steps)

    def _finding(self, key: str, digest: bytes, fault: _Fault) -> Finding:
        return Finding(
            key=key,
            path=self._shelf.path(digest),
            expected=digest.hex(),
            got=fault.got,
            reason=fault.reason,
            advice=self._advice(fault, digest),
        )

    def _disagreeing(self, chain: Chain) -> Finding:
        step = own_fault(chain)
        entry = chain.entry
        return Finding(
            key=entry.key,
            path=self._shelf.path(entry.digest),
            expected="what its voucher states",
            got=entry.digest.hex(),
            reason="" if step is None else step.text,
            advice="the mirror compares it again when it is asked for and its freshness has ended;"
            " look at `rust-mirror verify KEY`",
        )

    def _advice(self, fault: _Fault, digest: bytes) -> str:
        if fault.got == "no file":
            return "nothing to do: the mirror fetches it anew when it is asked for"
        if fault.got == _DENIED:
            return "look at it as root; if its bytes are good, give it back to the mirror's user"
        if fault.is_noticed:
            return (
                "nothing to do: the mirror does not serve it; it quarantines the file and fetches"
                " it anew when it is asked for"
            )
        path = self._shelf.path(digest)
        return (
            "the mirror cannot notice it at once: its scrub does when it comes by ([scrub] every),"
            f" or after `touch {path}`; then it quarantines the file and fetches it anew; look at"
            " the disk's health too"
        )

    def _name_unnamed(self, report: Report) -> None:
        """Tell of wrong files that no entry names any more, and of wrong variants."""
        told = {finding.path for finding in report.wrong}
        for digest, fault in self._faults.items():
            is_told = self._shelf.path(digest) in told
            if not is_told and self._shelf.index.blob(digest) is not None:
                of = self._shelf.index.content_of(digest)
                key = "" if of is None else self._key_of(of)
                report.wrong.append(self._finding(key, digest, fault))

    def _key_of(self, digest: bytes) -> str:
        return next(iter(self._shelf.index.keys_of(digest, 1)), "")

    def _wrong_variant(self, variant: VariantRow, got: str) -> Finding:
        path = self._shelf.path(variant.blob)
        return Finding(
            key=self._key_of(variant.digest),
            path=path,
            expected=variant.digest.hex(),
            got=got,
            reason="its gzip variant decodes to something else",
            advice=f"the mirror cannot notice it by itself: `rm {path}`, then it is made again when"
            " it is asked for; tell the mirror's developers",
        )

    def _strays(self) -> Iterator[str]:
        """Yield files below `blobs/` that the index does not know, older than this check."""
        for folder, _, names in os.walk(self._layout.blobs):
            for name in names:
                path = f"{folder}/{name}"
                digest = digest_of_name(name)
                is_known = digest is not None and self._shelf.path(digest) == path
                if is_known and digest and self._shelf.index.blob(digest) is not None:
                    continue
                try:
                    changed_at = os.lstat(path).st_ctime
                except OSError:
                    continue
                if changed_at < self._now:  # a younger one may be about to get its row
                    yield path


def _fault_of(fault: Fault, found: Judgement, *, is_attested: bool) -> _Fault:
    """`is_attested`: the file is the one that was hashed when it was stored, by its identity."""
    is_noticed = True
    got = "no file" if fault is Fault.ABSENT else "a moving file"
    if fault is Fault.UNREADABLE and found.error is not None:
        is_noticed = found.error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR)
        got = found.error.strerror or "unreadable"
    elif fault is Fault.OTHER_CONTENT:
        is_noticed = not is_attested
        got = found.got.hex()
    return _Fault(got=got, reason=fault.value, is_noticed=is_noticed)


def _class_of(key: str) -> str:
    route = route_of_key(key.removesuffix(_FORMER))
    return "unknown" if route is None else route.content_class.value
