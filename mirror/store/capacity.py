"""What one store may take at the moment: budget, quotas, and what the disk has left.

Rules:
1. The disk is asked each time: others write there too.
2. What a class has stored is asked of the index, which counts with every row it writes.

Units: bytes, as footprints.
Does not: make room (`room`).
Runs in: keeper (any thread). With quotas the caller holds the store's lock, so that nothing is
published between a question and its answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from mirror import config
from mirror.errors import DiskTrouble, StoreError
from mirror.route.route import ContentClass
from mirror.store.budget import Budget
from mirror.store.catalog import Catalog
from mirror.store.files import Files, disk_errors
from mirror.store.floors import Floors, floors_of
from mirror.store.index import Index
from mirror.store.pins import PinRange, ranges_of
from mirror.store.quotas import Quotas, quotas_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What `[store]` says about room."""

    floors: Floors
    quotas: Quotas
    pins: tuple[PinRange, ...]


def limits_of(settings: config.Store) -> Limits:
    quotas = settings.quotas
    return Limits(
        floors=floors_of(settings.free_floor, settings.free_inodes),
        pins=tuple(ranges_of(settings.pins)),
        quotas=quotas_of(
            {
                ContentClass.RELEASE: quotas.release,
                ContentClass.RUSTUP: quotas.rustup,
                ContentClass.CRATE: quotas.crate,
                ContentClass.INDEX: quotas.index,
            }
        ),
    )


class Capacity:
    """Answers for one store directory."""

    def __init__(self, *, catalog: Catalog, limits: Limits, files: Files, path: str) -> None:
        self._catalog = catalog
        self._floors = limits.floors
        self._quotas = limits.quotas
        self.pins = limits.pins
        self._files = files
        self._path = path

    def most_of(self, content_class: int) -> int:
        """Return the most that anything of this class may ever take."""
        budget_bytes = self._budget.budget_bytes
        quota = self._quotas.limit_of(content_class)
        return min(quota, budget_bytes) if quota else budget_bytes

    def has_quota(self, content_class: int) -> bool:
        return self._quotas.limit_of(content_class) > 0

    def free_bytes(self) -> int:
        """Raises StoreError."""
        with disk_errors(self._path):
            return self._files.free_bytes(self._path)

    def shortfall(self, cost_bytes: int) -> int:
        """Return how many bytes must go before `cost_bytes` more fit budget and disk."""
        free_bytes = self.free_bytes()
        with self._budget.lock:
            return self._budget.shortfall(cost_bytes, free_bytes)

    def inode_shortfall(self) -> int:
        """Return how many inodes must come free before another fill. Raises StoreError."""
        if not self._floors.free_inodes:
            return 0
        with disk_errors(self._path):
            return self._floors.inode_shortfall(self._files.free_inodes(self._path))

    def over_quota(self, content_class: int, more_bytes: int = 0) -> int:
        """Return by how much a class passes its quota when it takes `more_bytes`."""
        if not self.has_quota(content_class):
            return 0
        stored_bytes = self._catalog.read(Index.class_bytes).get(content_class, 0)
        with self._budget.lock:
            promised_bytes = self._budget.reserved_of_class.get(content_class, 0)
        return self._quotas.over(content_class, stored_bytes + promised_bytes, more_bytes)

    def overdrawn(self) -> dict[int, int]:
        """Return the classes that are above their quota, and by how much."""
        found = {number: self.over_quota(number) for number in self._quotas.limits}
        return {number: over for number, over in found.items() if over}

    def require_floors(self) -> None:
        """Raises StoreError when not even an empty object may be stored."""
        free_bytes = self.free_bytes()
        with self._budget.lock:
            short = self._budget.disk_shortfall(0, free_bytes)
        if short:
            reason = f"{short} bytes below the floor of {self._floors.free_bytes} free bytes"
            raise StoreError(self._path, reason, trouble=DiskTrouble.FLOOR)
        short = self.inode_shortfall()
        if short:
            reason = f"{short} below the floor of {self._floors.free_inodes} free inodes"
            raise StoreError(self._path, reason, trouble=DiskTrouble.INODES)

    @property
    def _budget(self) -> Budget:
        return self._catalog.budget
