"""What vouches for each stored object, compared again with what is stored of it.

| class | steps |
|---|---|
| crate | `cksum` in the stored index file; nobody signs that |
| dated archive | hash in the stored manifest, then the manifest's own steps; else its `.sha256` |
| archive with `archive = "signature"` | its `.asc`, verified over its bytes |
| rustup binary, undated archive | its `.sha256`, stored beside it |
| version 1 channel file | its own signature |
| channel file | its generation: `.sha256`, signature, pinned key |
| index file, scripts, lists | nobody: only their form was checked |

Rules:
1. A voucher that is no longer stored is told with its name and the time of the comparison.
2. A stored document that states another digest than the stored object has is WRONG.

Runs in: commands and keeper (jobs); one thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from mirror.config import Config
from mirror.errors import VerificationError
from mirror.jobs.archives import Archives
from mirror.jobs.chain import (
    NOBODY,
    Step,
    good,
    lost,
    moment,
    note,
    upstream_words,
    weak,
    wrong,
)
from mirror.jobs.generations import Generations, generation_note
from mirror.jobs.proof_files import ProofFiles
from mirror.jobs.shelf import DamagedError, Shelf
from mirror.jobs.signatures import Signatures
from mirror.route.crates import crate_of
from mirror.route.match import route_of_key
from mirror.route.proofs import subject
from mirror.route.route import Kind, Route
from mirror.route.sparse_index import index_route
from mirror.store.entry import Entry, former_key
from mirror.verify.crate_index import parse_index

INDEXES_MAX = 64  # keys of one crate come one after another; the fattest index file has 3,000 lines


class Vouching:
    """Makes the steps of one store's objects.

    `is_whole`: signatures over large objects are verified too, which reads all of their bytes.
    """

    def __init__(self, shelf: Shelf, config: Config, *, is_whole: bool) -> None:
        self._shelf = shelf
        self._config = config
        self._signatures = Signatures(shelf, config.trust)
        self._generations = Generations(
            shelf,
            self._signatures,
            urls=config.upstream.releases.urls,
            requires_signature=config.trust.channel_manifest == "signature",
        )
        self._archives = Archives(
            shelf,
            self._signatures,
            self._generations,
            urls=config.upstream.releases.urls,
            is_whole=is_whole,
        )
        self._proofs = ProofFiles(shelf, self._signatures, is_whole=is_whole)
        self._indexes: OrderedDict[bytes, dict[str, bytes]] = OrderedDict()

    def steps(self, entry: Entry) -> tuple[Step, ...]:
        """Return what vouches for `entry`; not that its bytes are right. Raises StoreError."""
        route = route_of_key(entry.key.removesuffix(former_key("")))
        if route is None:
            text = "no request can name this key: it was stored under another grammar"
            return (weak(entry.key, text, NOBODY),)
        try:
            return tuple(self._of_kind(route)(entry, route))
        except DamagedError as exc:
            return (wrong(exc.source, exc.message),)

    def forget(self) -> None:
        """Read every document anew: the store may have changed since."""
        self._indexes.clear()
        self._generations.forget()

    def _of_kind(self, route: Route) -> Callable[[Entry, Route], list[Step]]:
        match route.kind:
            case Kind.CRATE:
                return self._crate
            case Kind.INDEX_FILE:
                return self._index_file
            case Kind.CHANNEL:
                return self._channel_file
            case Kind.ARCHIVE | Kind.RUSTUP_BINARY:
                return self._archives.steps
            case Kind.ARCHIVE_PROOF | Kind.RUSTUP_PROOF:
                return self._proofs.steps
            case Kind.RELEASE_KEY:
                return self._release_key
            case Kind.CHANNEL_V1:
                return self._proofs.steps if subject(route) else self._archives.steps
            case Kind.MANIFESTS | Kind.RUSTUP_HEAD:
                return self._nobody

    def _crate(self, entry: Entry, route: Route) -> list[Step]:
        crate = crate_of(route)
        index = None if crate is None else index_route(crate.name)
        stored = None if index is None else self._shelf.lookup(index.key)
        if crate is None or index is None or stored is None:
            return [_voucher_gone(entry, "the index file")]
        try:
            stated = self._versions(stored.entry, index.path).get(crate.version)
        except DamagedError:
            raise
        except VerificationError as exc:
            return [wrong(index.key, exc.message)]
        if stated is None:
            text = f"the stored index file {index.key} does not list version {crate.version}"
            return [wrong(entry.key, text)]
        if stated != entry.digest:
            text = f"the stored index file {index.key} states cksum {stated.hex()}"
            return [wrong(entry.key, f"{text}, the stored crate is {entry.digest.hex()}")]
        text = f"the index file {index.key}, stored and re-read, states this digest as its cksum"
        return [good(entry.key, text), self._index_note(stored.entry)]

    def _versions(self, index: Entry, path: str) -> dict[str, bytes]:
        versions = self._indexes.get(index.digest)
        if versions is None:
            stored = self._shelf.lookup(index.key)
            if stored is None or stored.entry.digest != index.digest:
                raise VerificationError(index.key, expected="the same index file", got="another")
            versions = parse_index(self._shelf.content(stored), path.rpartition("/")[2])
            self._indexes[index.digest] = versions
            while len(self._indexes) > INDEXES_MAX:
                self._indexes.popitem(last=False)
        return versions

    def _index_file(self, entry: Entry, route: Route) -> list[Step]:
        try:
            count = len(self._versions(entry, route.path))
        except DamagedError:
            raise
        except VerificationError as exc:
            return [wrong(entry.key, exc.message)]
        text = f"it was parsed again (versions: {count}); nobody signs it: it came from"
        origin = upstream_words(self._config.upstream.index.urls)
        return [weak(entry.key, f"{text} {origin}, last confirmed {_confirmed(entry)}", NOBODY)]

    def _index_note(self, index: Entry) -> Step:
        origin = upstream_words(self._config.upstream.index.urls)
        text = f"nobody signs the index: that file came from {origin}, last confirmed"
        return note(index.key, f"{text} {_confirmed(index)}")

    def _channel_file(self, entry: Entry, _route: Route) -> list[Step]:
        manifest = self._generations.manifest_of(entry)
        if manifest is None:
            return [_voucher_gone(entry, "the manifest of its generation")]
        if entry.voucher and entry.voucher != manifest.entry.voucher:
            text = f"it belongs to {entry.voucher}, the stored manifest to"
            return [wrong(entry.key, f"{text} {manifest.entry.voucher}: a mixed generation")]
        return [generation_note(entry), *self._generations.steps(manifest)]

    def _release_key(self, entry: Entry, _route: Route) -> list[Step]:
        stored = self._shelf.lookup(entry.key)
        if stored is None:
            return [_voucher_gone(entry, "the key")]
        try:
            key = self._signatures.read_key(self._shelf.content(stored), entry.key)
        except DamagedError:
            raise
        except VerificationError as exc:
            if entry.proof == "key":
                return [wrong(entry.key, f"it is not the pinned key: {exc.message}")]
            return [weak(entry.key, f"it is not the pinned key: {exc.message}", NOBODY)]
        text = f"its fingerprint {key.fingerprint} is pinned in [trust] release_key_fingerprints"
        return [good(entry.key, text)]

    def _nobody(self, entry: Entry, route: Route) -> list[Step]:
        origin = upstream_words(self._config.upstream.releases.urls)
        text = f"its form was checked when it came; nobody states its digest: it came from {origin}"
        return [weak(entry.key, f"{text}, last confirmed {_confirmed(entry)}", NOBODY)]


def _confirmed(entry: Entry) -> str:
    return moment(entry.confirmed_at)


def _voucher_gone(entry: Entry, what: str) -> Step:
    by = entry.voucher or "a voucher that was not noted"
    text = f"{what} is no longer stored; on {moment(entry.verified_at)} it was compared with {by}"
    return lost(entry.key, text)
