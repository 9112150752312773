"""Requests: the heads that the simulator reads, without leniency and without a framework.

Rules:
1. Field names are lower-cased; repeated fields are joined by ", ".
2. The path is percent-decoded and has no query, as S3 looks it up.

Does not: read content (a request that announces content is refused by the server).
Runs in: simulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from mirror.simulator.published import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRequest:
    """One request head."""

    site: Site
    method: str
    target: str
    path: str
    version: str
    fields: Mapping[str, str]

    @property
    def keeps_connection(self) -> bool:
        options = self.fields.get("connection", "").lower()
        if self.version == "HTTP/1.0":
            return "keep-alive" in options
        return "close" not in options

    @property
    def has_content(self) -> bool:
        return "transfer-encoding" in self.fields or self.fields.get("content-length", "0") != "0"


def parse_request(head: bytes, site: Site) -> SimulatedRequest:
    """Parse a head that ends with an empty line.

    Raises: ValueError when it is no HTTP/1.x request.
    """
    request_line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = request_line.split(" ")
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        raise ValueError(f"version {version!r}")
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"field line {line!r}")
        key = name.lower()
        joined = f"{fields[key]}, " if key in fields else ""
        fields[key] = joined + value.strip()
    return SimulatedRequest(
        site=site,
        method=method,
        target=target,
        path=unquote(target.partition("?")[0]),
        version=version,
        fields=fields,
    )
