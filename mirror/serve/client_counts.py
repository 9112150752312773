"""How many connections each client has with this worker.

Rules:
1. Who is a client, and who is nobody's, `client_networks` says.
2. Who is counted is counted once more for each connection, and until it is gone.

Does not: refuse; or know what other workers have.
Runs in: worker. Pure.
"""

from __future__ import annotations

from mirror.serve.client_networks import ClientNetworks


class ClientCounts:
    """Counts by client; `limit` 0: nobody is counted."""

    __slots__ = ("_counts", "_limit", "_networks")

    def __init__(self, limit: int, networks: ClientNetworks) -> None:
        self._limit = limit
        self._networks = networks
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def __repr__(self) -> str:
        return f"<ClientCounts {len(self)} clients>"

    def client_of(self, address: str) -> str:
        """What `address` is counted under; empty: it is not."""
        return self._networks.client_of(address) if self._limit else ""

    def add(self, client: str) -> bool:
        """Count one more connection; False when it is one too many (it is counted all the same)."""
        count = self._counts[client] = self._counts.get(client, 0) + 1
        return count <= self._limit

    def has_room(self, client: str) -> bool:
        """Whether one more connection would not be one too many."""
        return self._counts.get(client, 0) < self._limit

    def discard(self, client: str) -> None:
        """One of its connections is gone."""
        left = self._counts[client] - 1
        if left:
            self._counts[client] = left
        else:
            del self._counts[client]
