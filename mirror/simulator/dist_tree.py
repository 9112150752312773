"""The dist tree: what `static.rust-lang.org` serves, complete and signed.

Rules:
1. A release is published twice, in `/dist/<date>/` (for ever, `Cache-Control: public`) and in
   `/dist/` (overwritten by the next beta or nightly), and appended to `/manifests.txt`.
2. Each archive and manifest has a `.sha256` and an `.asc`; signatures are made when asked for.
3. `/dist/<date>/big-<n><unit>-<triple>.tar.gz` exists for every published date and any size up to
   4 GiB, is made on demand, and has its `.sha256` and `.asc`; no manifest names it.
4. A legacy release leaves the heads of beta and nightly alone, and has the signatures of its time.

Units: Unix seconds, bytes. Does not: sign (`openpgp_signer`).
Runs in: simulator.
"""

from __future__ import annotations

import re
from datetime import date
from functools import partial

from mirror.simulator.channel_manifest import Archive, manifest_text
from mirror.simulator.components import ComponentSpec, component_tar
from mirror.simulator.contents import (
    Content,
    FixedContent,
    KeyedContent,
    LazyContent,
    digest_line,
)
from mirror.simulator.openpgp_signer import Signer
from mirror.simulator.published import Published, Shelf
from mirror.simulator.releases import EXTRA_TARGETS, HOST_PACKAGES, Release, noon_of
from mirror.simulator.tar_files import (
    TarFile,
    gzip_stored,
    ustar,
    with_directories,
    xz_stored,
)

MANIFESTS_PATH = "/manifests.txt"
KEY_PATH = "/rust-key.gpg.ascii"
LARGEST_BIG_BYTES = 4 << 30

_UNITS = {
    "": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
_BIG = re.compile(
    r"(/dist/(\d{4}-\d\d-\d\d)/big-(\d{1,10})(|KB|MB|GB|KiB|MiB|GiB)-[a-z0-9_-]+\.tar\.gz)"
    r"(?:\.sha256|\.asc)?"
)


class DistTree:
    """Publishes releases onto a shelf."""

    def __init__(
        self, shelf: Shelf, signer: Signer, *, seed: int, host: str, payload_scale: int
    ) -> None:
        self._shelf = shelf
        self._signer = signer
        self._seed = seed
        self._host = host
        self._payload_scale = payload_scale
        self._published: list[Release] = []
        self._listed: list[str] = []

    @property
    def releases(self) -> list[Release]:
        return list(self._published)

    def publish(self, release: Release) -> None:
        """Publish every file of `release`, the manifests last, then list it."""
        archives = {
            (package, target): self._publish_archive(release, package, target)
            for package, target in self._packages(release)
        }
        source = self._publish_source(release)
        text = manifest_text(release, self._host, archives, source).encode()
        names = "\n".join(archive.path.rpartition("/")[2] for archive in archives.values()).encode()
        for name in release.manifest_names:
            self._put_twice(release, f"{name}.toml", FixedContent(text))
            # The version-1 manifest, a plain list of names; rustup falls back to it.
            self._put_twice(release, name, FixedContent(names + b"\n"))
            line = f"static.rust-lang.org/dist/{release.day}/{name}.toml\n"
            self._listed.insert(0 if release.is_legacy else len(self._listed), line)
        self._published.append(release)
        self._publish_list(release.published_at)

    def publish_manifest(self, name: str, day: date, text: bytes) -> None:
        """Publish `text` as the manifest `name` of `day`: the head and the dated copy.

        What the manifest names must be there already.
        """
        at = noon_of(day)
        content = FixedContent(text)
        dated = f"/dist/{day}/{name}.toml"
        self._put_with_proofs(dated, content, at, cache_control="public")
        self._put_with_proofs(f"/dist/{name}.toml", content, at)
        self._listed.append(f"static.rust-lang.org/dist/{day}/{name}.toml\n")
        self._publish_list(at)

    def _publish_list(self, at: int) -> None:
        listed = "".join(self._listed).encode()
        self._shelf.put(MANIFESTS_PATH, FixedContent(listed), last_modified_at=at)

    def publish_key(self, at: int) -> None:
        self._shelf.put(KEY_PATH, FixedContent(self._signer.public_key()), last_modified_at=at)

    def find(self, path: str) -> Published | None:
        """Return the object at `path`, making a big object when its name asks for one."""
        found = self._shelf.find(path)
        match = None if found else _BIG.fullmatch(path)
        if match is None or not self._make_big(*match.groups()):
            return found
        return self._shelf.find(path)

    def _make_big(self, path: str, day: str, number: str, unit: str) -> bool:
        length = int(number) * _UNITS[unit]
        release = next((item for item in self._published if str(item.day) == day), None)
        if release is None or length > LARGEST_BIG_BYTES:
            return False
        self._put_with_proofs(path, KeyedContent(self._seed, path, length), release.published_at)
        return True

    def _packages(self, release: Release) -> list[tuple[str, str]]:
        host_packages = [name for name in HOST_PACKAGES if name not in release.missing]
        return [
            *((name, self._host) for name in host_packages),
            *(("rust-std", target) for target in (self._host, *EXTRA_TARGETS)),
            ("rust-src", "*"),
            ("rust", self._host),
        ]

    def _publish_archive(self, release: Release, package: str, target: str) -> Archive:
        spec = ComponentSpec(
            package=package,
            version=release.file_version,
            full_version=release.full_version,
            triple=target,
            built_at=release.published_at,
            seed=self._seed,
            payload_scale=self._payload_scale,
        )
        return self._publish_tar(release, spec.stem, component_tar(spec))

    def _publish_source(self, release: Release) -> Archive:
        stem = f"rustc-{release.file_version}-src"
        files = [TarFile(path=f"{stem}/version", content=release.full_version.encode())]
        tar = ustar(with_directories(files), modified_at=release.published_at)
        return self._publish_tar(release, stem, tar)

    def _publish_tar(self, release: Release, stem: str, tar: bytes) -> Archive:
        in_gzip, in_xz = FixedContent(gzip_stored(tar)), FixedContent(xz_stored(tar))
        self._put_twice(release, f"{stem}.tar.gz", in_gzip)
        self._put_twice(release, f"{stem}.tar.xz", in_xz)
        return Archive(
            path=f"dist/{release.day}/{stem}",
            gzip_hash=in_gzip.sha256.hex(),
            xz_hash=in_xz.sha256.hex(),
        )

    def _put_twice(self, release: Release, name: str, content: Content) -> None:
        at, hash_name = release.published_at, release.signed_with
        dated = f"/dist/{release.day}/{name}"
        self._put_with_proofs(dated, content, at, cache_control="public", hash_name=hash_name)
        if release.is_legacy and release.channel != "stable":
            return
        self._put_with_proofs(f"/dist/{name}", content, at, hash_name=hash_name)

    def _put_with_proofs(
        self,
        path: str,
        content: Content,
        at: int,
        *,
        cache_control: str = "",
        hash_name: str = "sha512",
    ) -> None:
        name = path.rpartition("/")[2]
        files = {path: content, f"{path}.sha256": LazyContent(partial(_digest_of, content, name))}
        if hash_name:
            # Signed at the release's time, so that signatures differ between releases only.
            sign = partial(self._signer.detached_signature, hash_name=hash_name)
            files[f"{path}.asc"] = LazyContent(lambda: sign(content.blocks(), at))
        for target, item in files.items():
            self._shelf.put(target, item, last_modified_at=at, cache_control=cache_control)


def _digest_of(content: Content, name: str) -> bytes:
    return digest_line(content, f" {name}")
