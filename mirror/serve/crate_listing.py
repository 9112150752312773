"""Whether the index still lists a crate that is stored: asked behind the hit, or before it.

Rules:
1. What vouches for a listing is the later of two confirmations: the crate's own entry and its index
   file's. The second is looked up only when the first is older than `crate_check`.
2. A hot entry keeps what was found; it is looked at once a second, with its rendering. So a hit
   costs nothing for it.
3. An answer that the keeper gives while upstream is away counts as a confirmation for `EXCUSED_S`:
   else every hit of an outage would wait for the keeper to say the same again.
4. Without a keeper nobody can be waited for: the crate is served, as every hit is. What a keeper
   had withdrawn before is gone from the index, so a deletion once seen holds here too.
5. What was confirmed in the future, by a clock that was set back since, was never confirmed.

Units: Unix seconds.
Runs in: worker. Awaits nothing.
"""

from __future__ import annotations

from typing import Final

from mirror.config import Freshness
from mirror.fill.plan import UNCONFIRMED, CratePatience, Decision, Serve, decide_crate
from mirror.http.freshness import believed
from mirror.route.crates import crate_of
from mirror.route.route import Kind, Route
from mirror.route.sparse_index import index_route
from mirror.serve.ports import Keeper, StoreView

EXCUSED_S: Final = 5.0


class CrateListing:
    """Applies `plan.decide_crate` to what is about to be served."""

    def __init__(self, freshness: Freshness, reader: StoreView, keeper: Keeper) -> None:
        self._patience = CratePatience(
            check_s=float(freshness.crate_check), wait_s=float(freshness.crate_wait)
        )
        self._reader = reader
        self._keeper = keeper

    def __repr__(self) -> str:
        return f"<CrateListing {self._patience.check_s} s, {self._patience.wait_s} s>"

    def apply(
        self, decision: Decision, route: Route, vouched_at: float, now: float
    ) -> tuple[Decision, float]:
        """Return what becomes of a decision, and when its crate was last vouched for."""
        if route.kind is not Kind.CRATE or not isinstance(decision, Serve):
            return decision, vouched_at
        confirmed_at = decision.stored.entry.confirmed_at
        vouched_at = max(believed(vouched_at, now), believed(confirmed_at, now))
        if now - vouched_at > self._patience.check_s:
            vouched_at = max(vouched_at, believed(self._listed_at(route), now))
        decided = decide_crate(decision, self._patience, vouched_at=vouched_at, now=now)
        if decided is UNCONFIRMED and not self._keeper.is_connected:
            decided = Serve(stored=decision.stored, ttl_s=decision.ttl_s, check=True)
        if isinstance(decided, Serve) and decided.check:
            self._keeper.check(route.key)
        return decided, vouched_at

    def answered(self, now: float, *, is_stale: bool) -> float:
        """Return when a crate counts as vouched for whose check the keeper has just answered."""
        return now - self._patience.wait_s + EXCUSED_S if is_stale else now

    def _listed_at(self, route: Route) -> float:
        crate = crate_of(route)
        index = None if crate is None else index_route(crate.name)
        stored = None if index is None else self._reader.lookup(index.key)
        # That the whole crate was absent vouches for no version of it.
        if stored is None or stored.entry.status != 200:
            return 0.0
        return stored.entry.confirmed_at
