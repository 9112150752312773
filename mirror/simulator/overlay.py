"""The overlay: what is served instead of what is published, until it is lifted.

Rules:
1. It changes what clients get, never what is published: lifting it brings the true object back.
2. A replaced object is consistent in itself (length, entity tag, Last-Modified), as it would be on
   a host that somebody else has written to.

Units: Unix seconds. Runs in: simulator.
"""

from __future__ import annotations

from mirror.simulator.published import Published, Site


class Overlay:
    """Per host and path another object, or none at all."""

    def __init__(self) -> None:
        self._objects: dict[tuple[Site, str], Published | None] = {}

    def __repr__(self) -> str:
        return f"<Overlay {len(self._objects)} objects>"

    def put(self, site: Site, path: str, published: Published | None) -> None:
        """Serve `published` at `path`, or nothing."""
        self._objects[site, path] = published

    def lift(self, site: Site, path: str) -> bool:
        """Serve the true object again; return whether there was another one."""
        is_there = (site, path) in self._objects
        self._objects.pop((site, path), None)
        return is_there

    def clear(self) -> None:
        self._objects.clear()

    def over(self, site: Site, path: str, published: Published | None) -> Published | None:
        """Return what to serve at `path`, where `published` is the true object."""
        return self._objects.get((site, path), published)
