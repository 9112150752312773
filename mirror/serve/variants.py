"""Which form of a stored response a request gets: the identity, or its gzip variant.

Rules:
1. The variant is selected when the client accepts gzip (`http.content_coding`), the kind has
   variants (`route.policy.may_vary`) and one is stored; else the identity, at once.
2. Where a variant may pay and there is none that can be used, the keeper is told, and the index is
   looked at again in the next second: it is made within milliseconds.
3. A hot entry is of one form, under a name of its own; so a learned head never gets another form
   than the parser would have given it, and a hit looks nothing up for it.

Units: bytes, Unix seconds.
Runs in: worker. Awaits nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mirror.route.policy import CODED_MIN_BYTES, may_vary
from mirror.route.route import Route
from mirror.serve.ports import Keeper, StoreView
from mirror.serve.request import Request
from mirror.serve.wheel import Wheel
from mirror.store.entry import NoVariant, Stored

SETTLED: Final = -1
_GZIP_NAME: Final = " gzip"  # no key holds a space


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """`coded` None: the identity. `looked_second` is not `SETTLED` while another form is awaited:
    the second in which the index was asked for it."""

    name: str
    coded: Stored | None = None
    looked_second: int = SETTLED


def hot_name(request: Request, route: Route) -> str:
    """The name that the hot map has for what this request gets."""
    return route.key + _GZIP_NAME if _selects(request, route) else route.key


class Variants:
    """Chooses for one worker."""

    def __init__(self, reader: StoreView, keeper: Keeper, wheel: Wheel) -> None:
        self._reader = reader
        self._keeper = keeper
        self._wheel = wheel

    def choose(self, request: Request, route: Route, stored: Stored) -> Form:
        """Return the form to answer with; asks the keeper for one that is not there."""
        name = hot_name(request, route)
        if name == route.key or stored.entry.length < CODED_MIN_BYTES:
            return Form(name=name)
        found = self._reader.variant(stored)
        if isinstance(found, Stored):
            return Form(name=name, coded=found)
        if found is NoVariant.POINTLESS:
            return Form(name=name)
        return self.instead(name, route)

    def instead(self, name: str, route: Route) -> Form:
        """Return the identity, in the place of a variant that is not there or not usable."""
        self._keeper.code(route.key)
        return Form(name=name, looked_second=self._wheel.second)

    def given_uncoded(self, request: Request, route: Route, length: int) -> None:
        """A content that may not be stored yet was answered as it is."""
        if length >= CODED_MIN_BYTES and _selects(request, route):
            self._keeper.code(route.key)


def _selects(request: Request, route: Route) -> bool:
    return request.accepts_gzip and may_vary(route)
