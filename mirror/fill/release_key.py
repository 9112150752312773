"""The key that signs channel manifests and archives: from a file, or from upstream, never unpinned.

Rules:
1. A file wins over upstream; it is read anew each time, so that replacing it needs no restart.
2. Whatever it comes from, it is accepted only if its fingerprints are the pinned ones.
3. A stored key that is not (other pins since) is asked for once more before it is refused.
4. It is parsed once per content.

Runs in: keeper.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from mirror.config import Trust
from mirror.errors import ConfigError, MirrorError, UpstreamError, VerificationError
from mirror.fill.manifests import intact
from mirror.fill.objects import ANY_TIME, Objects
from mirror.fill.parts import FillParts
from mirror.route.match import route_of_key
from mirror.route.route import Kind, Route
from mirror.verify.openpgp import ReleaseKey, read_release_key

KEY_KEY = "releases:/rust-key.gpg.ascii"
MAX_FILE_BYTES = 1 << 20  # the real one has 5,326
_FILE_KEY = "trust.release_key_file"


class ReleaseKeys:
    """Where the keeper gets the release key from."""

    def __init__(self, parts: FillParts, objects: Objects) -> None:
        self._parts = parts
        self._objects = objects
        self._trust = parts.config.trust
        self._read: tuple[bytes, ReleaseKey] | None = None
        self._refused = b""  # the digest of what was told to be wrong

    def __repr__(self) -> str:
        return f"<ReleaseKeys {self._trust.release_key_file or KEY_KEY}>"

    async def get(self) -> ReleaseKey:
        """Return the key.

        Raises: UpstreamError when it cannot be had at the moment; VerificationError for another.
        """
        path = self._trust.release_key_file
        if path:
            try:
                content = await self._parts.desk.compute(_read_file, path)
            except OSError as exc:
                raise UpstreamError(path, f"the release key cannot be read: {exc}") from exc
            return await self._parse(content, path)
        try:
            return await self._upstream(ANY_TIME)
        except VerificationError:
            return await self._upstream(self._parts.clock.now())

    async def stored(self) -> ReleaseKey | None:
        """Return the key without asking upstream: the file's, or the stored one; else None."""
        with contextlib.suppress(MirrorError):
            if self._trust.release_key_file:
                return await self.get()
            stored = await intact(self._parts.desk, KEY_KEY)
            content = None if stored is None else await self._parts.desk.read_small(stored)
            if content is not None:
                return await self._parse(content, KEY_KEY)
        return None

    async def _upstream(self, since: float) -> ReleaseKey:
        try:
            found = await self._objects.confirmed(_route(), since=since)
            content = None if found is None else await self._objects.content(found)
        except MirrorError as exc:
            reason = exc.reason if isinstance(exc, UpstreamError) else exc.message
            raise UpstreamError(KEY_KEY, f"the release key cannot be had: {reason}") from exc
        if content is None:
            raise UpstreamError(KEY_KEY, "the release key cannot be had: upstream has none")
        return await self._parse(content, KEY_KEY)

    async def _parse(self, content: bytes, source: str) -> ReleaseKey:
        digest = hashlib.sha256(content).digest()
        if self._read is not None and self._read[0] == digest:
            return self._read[1]
        pinned = self._trust.release_key_fingerprints
        try:
            key = await self._parts.desk.compute(read_release_key, content, pinned, source)
        except VerificationError as exc:
            if digest != self._refused:
                self._refused = digest
                self._parts.log.error(
                    "release-key-refused", key=source, expected=exc.expected, got=exc.got
                )
            raise
        self._read = (digest, key)
        return key


def check_key_file(trust: Trust) -> None:
    """Read the configured file, if one is. Blocks. Raises ConfigError."""
    path = trust.release_key_file
    if not path:
        return
    try:
        read_release_key(_read_file(path), trust.release_key_fingerprints, path)
    except OSError as exc:
        raise ConfigError(_FILE_KEY, path, f"cannot be read: {exc.strerror or exc}") from exc
    except VerificationError as exc:
        raise ConfigError(
            _FILE_KEY,
            path,
            f"is not the key with trust.release_key_fingerprints: "
            f"expected {exc.expected}, got {exc.got}",
        ) from exc


def _read_file(path: str) -> bytes:
    with Path(path).open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(f"more than {MAX_FILE_BYTES} bytes")
    return content


def _route() -> Route:
    route = route_of_key(KEY_KEY)
    if route is None or route.kind is not Kind.RELEASE_KEY:
        raise ValueError(KEY_KEY)  # the grammar knows it
    return route
