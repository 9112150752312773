"""Clients that come and go without a pause, and tell a refusal from a reset from a failed answer.

Rules:
1. Each comes from an address of its own (127.0.0.0/8), so that the kernel spreads them over every
   listening socket.
2. On a fresh connection everything must go well: no refusal, no reset, a complete right body. What
   does not is kept in `complaints`.
3. A connection that was used before may be closed between two requests (RFC 9112 section 9.3.1):
   the next request goes to another connection, and counts as fresh there.

Runs in: tests.
"""

from __future__ import annotations

import hashlib
import http.client
import itertools
from collections.abc import Sequence

from tests.scenario.asking_threads import AskingThreads
from tests.scenario.body_checker import Known
from tests.scenario.edge import DEADLINE_S


class Visitors(AskingThreads):
    """`count` threads that ask for `objects` in turn, `each` requests per connection."""

    def __init__(
        self, port: int, objects: Sequence[Known], *, count: int = 8, each: int = 3
    ) -> None:
        super().__init__([self._visit] * count)
        self._port = port
        self._objects = objects
        self._each = each
        self.connections_total = 0
        self.right_total = 0
        self.closed_between_total = 0
        self.complaints: list[str] = []

    def __repr__(self) -> str:
        return (
            f"<Visitors {self.connections_total} connections, {self.right_total} right bodies, "
            f"{self.closed_between_total} closed between requests, "
            f"complaints {self.complaints[:3]}>"
        )

    def _visit(self, number: int) -> None:
        objects = itertools.cycle(self._objects)
        while not self._stop.is_set():
            connection = http.client.HTTPConnection(
                "127.0.0.1",
                self._port,
                timeout=DEADLINE_S,
                source_address=(f"127.0.1.{number + 1}", 0),
            )
            try:
                self._use(connection, objects)
            finally:
                connection.close()

    def _use(self, connection: http.client.HTTPConnection, objects: itertools.cycle[Known]) -> None:
        for request in range(self._each):
            item = next(objects)
            try:
                connection.request("GET", item.path)
                response = connection.getresponse()
            except (http.client.HTTPException, OSError) as exc:
                if request and not isinstance(exc, TimeoutError):
                    with self._lock:
                        self.closed_between_total += 1
                else:
                    self._complain(f"{item.path}: {exc!r}")
                return
            self._judge(item, response, is_fresh=request == 0)
            if response.will_close:
                return

    def _judge(self, item: Known, response: http.client.HTTPResponse, *, is_fresh: bool) -> None:
        try:
            content = response.read()
        except (http.client.HTTPException, OSError) as exc:
            self._complain(f"{item.path}: {exc!r} within the content")
            return
        if response.status != 200 or hashlib.sha256(content).hexdigest() != item.sha256:
            self._complain(f"{item.path}: {response.status}, {len(content)} bytes")
            return
        with self._lock:
            self.right_total += 1
            self.connections_total += is_fresh

    def _complain(self, complaint: str) -> None:
        with self._lock:
            self.complaints.append(complaint)
