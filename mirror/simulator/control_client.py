"""A synchronous client of the control listener; the verbs are those of `control.py`.

Does not: retry. Runs in: tests, demo, benchmarks.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
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
