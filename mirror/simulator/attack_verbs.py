"""Verbs of the control listener that attack: another content, torn channels, forged signatures.

| verb | content | answer |
|---|---|---|
| POST /replace | {"path", "content" (base64), "site"} | {} |
| POST /remove | {"path", "site"} | {"found": true} |
| POST /restore | {"path", "site"}, without a path everything | {"found": true} |
| POST /flip | {"channel", "held_back": ["toml", "sha256", "asc"]} | {"date", "sha256"} |
| POST /hold-back | {"channel", "files": ["toml", …]} | {} |
| POST /settle | {"channel", "files": ["toml", …]}, without files all three | {} |
| POST /roll-back | {"channel"} | {} |
| POST /sign | {"content" (base64), "hash", "key": "release" or "other", "at"} | {"signature"} |
| POST /publish-legacy | {"channel", "number", "date", "signed_with"} | {} |
| POST /change-cksum | {"name", "vers"} | {"cksum"} |
| POST /remove-version | {"name", "vers"} | {"found": true} |

Rules:
1. `site` is "releases" where it is absent. `replace`, `remove` and `restore` change what is served,
   not what is published.
2. `hash` and `signed_with` are "sha512" (when absent), "sha256" or "sha1"; `signed_with` "": none.
3. A skew is `flip` with some files held back, or `advance` and `hold-back`, then `settle`; a torn
   flip settles them one by one.

Runs in: simulator.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from typing import Any

from mirror.simulator.channel_flips import SUFFIXES
from mirror.simulator.contents import FixedContent
from mirror.simulator.published import Published, Site, media_type
from mirror.simulator.releases import legacy_release
from mirror.simulator.upstream import SimulatedUpstream

Verb = Callable[[Any], Awaitable[Mapping[str, object]]]


class AttackVerbs:
    """The verbs of one upstream, each taking the decoded content."""

    def __init__(self, upstream: SimulatedUpstream) -> None:
        self._upstream = upstream

    def by_path(self) -> dict[str, Verb]:
        """Return every verb under its path."""
        return {
            "/replace": self.replace,
            "/remove": self.remove,
            "/restore": self.restore,
            "/flip": self.flip,
            "/hold-back": self.hold_back,
            "/settle": self.settle,
            "/roll-back": self.roll_back,
            "/sign": self.sign,
            "/publish-legacy": self.publish_legacy,
            "/change-cksum": self.change_cksum,
            "/remove-version": self.remove_version,
        }

    async def replace(self, content: Mapping[str, Any]) -> Mapping[str, object]:
        path, site = content["path"], _site(content)
        true = self._upstream.find(site, path)
        other = Published(
            content=FixedContent(base64.b64decode(content["content"], validate=True)),
            content_type=true.content_type if true else media_type(path),
            last_modified_at=int(time.time()),
            cache_control=true.cache_control if true else "",
        )
        self._upstream.overlay.put(site, path, other)
        return {}

    async def remove(self, content: Mapping[str, Any]) -> Mapping[str, object]:
        path, site = content["path"], _site(content)
        is_there = self._upstream.find(site, path) is not None
        self._upstream.overlay.put(site, path, None)
        return {"found": is_there}

    async def restore(self, content: Mapping[str, Any]) -> Mapping[str, object]:
        if "path" not in content:
            self._upstream.overlay.clear()
            return {"found": True}
        return {"found": self._upstream.overlay.lift(_site(content), content["path"])}

    async def flip(self, content: Mapping[str, Any]) -> Mapping[str, object]:
        held_back = content.get("held_back", ())
        day, digest = self._upstream.flips.flip(content["channel"], held_back=held_back)
        return {"date": day, "sha256": digest}

    async def hold_back(self, content: Mapping[str, Any]) -> Mapping[str, object]:
        self._upstream.flips.hold_back(content["channel"], content["files"])
        return {}

    async def settle(self, content: Mapping[str, Any]) -> Mapping[str, object]:
        self._upstream.flips.settle(content["channel"], content.get("files", tuple(SUFFIXES)))
        return {}

    async def roll_back(self, content: Mapping[str, Any]) -> Mapping[str, object]:
        self._upstream.flips.roll_back(content["channel"])
        return {}

    async def sign(self, content: Mapping[str, Any]) -> Mapping[str, object]:
        signature = self._upstream.key_named(content.get("key", "release")).detached_signature(
            [base64.b64decode(content["content"], validate=True)],
            content.get("at", int(time.time())),
            hash_name=content.get("hash", "sha512"),
        )
        return {"signature": signature.decode()}

    async def publish_legacy(self, content: Mapping[str, Any]) -> Mapping[str, object]:
        day = date.fromisoformat(content["date"])
        signed_with = content.get("signed_with", "")
        release = legacy_release(content["channel"], content["number"], day, signed_with)
        self._upstream.dist.publish(release)
        return {}

    async def change_cksum(self, content: Mapping[str, Any]) -> Mapping[str, object]:
        now = time.time()
        cksum = self._upstream.registry.change_bytes(
            content["name"], content["vers"], f"changed at {now}\n".encode(), at=int(now)
        )
        return {"cksum": cksum}

    async def remove_version(self, content: Mapping[str, Any]) -> Mapping[str, object]:
        found = self._upstream.registry.remove_version(
            content["name"], content["vers"], at=int(time.time())
        )
        return {"found": found}


def _site(content: Mapping[str, Any]) -> Site:
    return Site(content.get("site", Site.RELEASES))
