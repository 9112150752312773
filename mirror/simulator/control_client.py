"""A synchronous client of the control listener; its verbs are `control.py`'s.

The verbs that attack (`attack_verbs.py`) are the second half.

Does not: retry. Runs in: tests, demo, benchmarks.
"""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

_TIMEOUT_S = 30.0


class ControlClient:
    """Talks to one simulator; a connection per call, so it may be used from any thread."""

    def __init__(self, control_url: str) -> None:
        self._authority = urlsplit(control_url).netloc

    def state(self) -> dict[str, Any]:
        return self._call("GET", "/state")

    def counts(self) -> dict[str, Any]:
        """Return total, classes, objects, connections and faults_fired."""
        return self._call("GET", "/counts")

    def reset_counts(self) -> None:
        self._call("POST", "/reset-counts")

    def log(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the log records with a sequence number above `since`."""
        records: list[dict[str, Any]] = self._call("GET", f"/log?since={since}")["records"]
        return records

    def faults(self, *rules: Mapping[str, object]) -> list[str]:
        """Add fault rules; return their ids."""
        ids: list[str] = self._call("POST", "/faults", list(rules))["ids"]
        return ids

    def faults_fired(self) -> dict[str, int]:
        fired: dict[str, int] = self.counts()["faults_fired"]
        return fired

    def clear_faults(self) -> None:
        self._call("POST", "/clear-faults")

    def advance(self, channel: str = "stable") -> str:
        """Publish the next release; return its number (nightly: its date)."""
        return str(self._call("POST", "/advance", {"channel": channel})["published"])

    def publish_crate(
        self, name: str, version: str, dependencies: Mapping[str, str] | None = None
    ) -> None:
        """Publish one version; `dependencies` maps names to requirements."""
        content = {"name": name, "vers": version, "deps": dict(dependencies or {})}
        self._call("POST", "/publish-crate", content)

    def yank(self, name: str, version: str, *, yanked: bool = True) -> bool:
        content = {"name": name, "vers": version, "yanked": yanked}
        return bool(self._call("POST", "/yank", content)["found"])

    def delete_crate(self, name: str) -> bool:
        return bool(self._call("POST", "/delete-crate", {"name": name})["found"])

    def stop_serving(self) -> None:
        """Take the upstream down: connections are refused, open ones reset."""
        self._call("POST", "/stop-serving")

    def resume_serving(self) -> None:
        self._call("POST", "/resume-serving")

    # What attacks

    def replace(self, path: str, content: bytes, *, site: str = "releases") -> None:
        """Serve other content at `path` until it is restored."""
        text = base64.b64encode(content).decode()
        self._call("POST", "/replace", {"path": path, "content": text, "site": site})

    def remove(self, path: str, *, site: str = "releases") -> bool:
        """Serve nothing at `path` until it is restored; return whether something was there."""
        return bool(self._call("POST", "/remove", {"path": path, "site": site})["found"])

    def restore(self, path: str, *, site: str = "releases") -> bool:
        return bool(self._call("POST", "/restore", {"path": path, "site": site})["found"])

    def restore_all(self) -> None:
        self._call("POST", "/restore", {})

    def flip(self, channel: str, *, held_back: Sequence[str] = ()) -> dict[str, str]:
        """Publish the next generation of a channel; return its date and its manifest's sha256.

        The head files in `held_back` ("toml", "sha256", "asc") stay the former ones.
        """
        content = {"channel": channel, "held_back": list(held_back)}
        return self._call("POST", "/flip", content)

    def hold_back(self, channel: str, *files: str) -> None:
        """Tear the head: the named files are the former ones again, the others the published."""
        self._call("POST", "/hold-back", {"channel": channel, "files": list(files)})

    def settle(self, channel: str, *files: str) -> None:
        """End what holds the head files back: of all, or of those named."""
        content: dict[str, object] = {"channel": channel}
        if files:
            content["files"] = list(files)
        self._call("POST", "/settle", content)

    def roll_back(self, channel: str) -> None:
        """Serve the former generation's three files at the head again."""
        self._call("POST", "/roll-back", {"channel": channel})

    def sign(self, content: bytes, *, hash_name: str = "sha512", key: str = "release") -> bytes:
        """Return an armoured signature over `content`; `key` is "release" or "other"."""
        text = base64.b64encode(content).decode()
        answer = self._call("POST", "/sign", {"content": text, "hash": hash_name, "key": key})
        return str(answer["signature"]).encode()

    def publish_legacy(
        self, channel: str, number: str, date: str, *, signed_with: str = ""
    ) -> None:
        """Publish a release of long ago; `signed_with` is "sha1", "sha256", "sha512" or ""."""
        content = {"channel": channel, "number": number, "date": date, "signed_with": signed_with}
        self._call("POST", "/publish-legacy", content)

    def change_cksum(self, name: str, version: str) -> str:
        """Publish other bytes as an existing version; return their `cksum`."""
        return str(self._call("POST", "/change-cksum", {"name": name, "vers": version})["cksum"])

    def remove_version(self, name: str, version: str) -> bool:
        content = {"name": name, "vers": version}
        return bool(self._call("POST", "/remove-version", content)["found"])

    def _call(self, method: str, path: str, content: object = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._authority, timeout=_TIMEOUT_S)
        try:
            connection.request(method, path, json.dumps(content) if content is not None else None)
            response = connection.getresponse()
            result: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(f"simulator: {path}: {result.get('error', response.status)}")
        return result
