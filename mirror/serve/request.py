"""One request as the request path sees it.

Rules:
1. A `Request` exists only for a head that the strict parser accepted: one message, no content.
2. Values are raw bytes of the wire; names are lower-case.

Does not: know sockets, or which protocol carried it.
Runs in: worker. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mirror.http.authority import Authority
from mirror.http.conditions import Conditions
from mirror.http.h2_memo import CutBlock
from mirror.http.request_directives import NO_DIRECTIVES, RequestDirectives


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`is_http10`: no chunked coding, and nothing unverified may be streamed to it.

    `authority` is what the Host field, or the absolute form that replaces it, names; None only for
    HTTP/1.0 without Host. `is_plain`: no field of this head but Host, If-None-Match,
    Accept-Encoding and `Connection: close` has any effect, so its bytes after the request line may
    be learned by the memo.
    `accepts_gzip`: the gzip variant is welcome where there is one. `wants_digest`: False
    when `Want-Repr-Digest` says that no SHA-256 is acceptable. `wants_content_digest`: True when
    `Want-Content-Digest` asks for one. `h2_settings`: the SETTINGS payload of an `Upgrade: h2c`
    that may be taken (`h2_switch`). `block`: what of HTTP/2 may be learned
    (`h2_memo`). `fields`: all values by lower-case name, for accounts.
    """

    method: bytes
    target: bytes
    is_http10: bool
    is_absolute: bool
    is_plain: bool
    keep_alive: bool
    authority: Authority | None
    conditions: Conditions
    range: bytes | None
    forwarded_for: bytes | None
    forwarded_proto: bytes | None
    cdn_loop: bytes | None
    directives: RequestDirectives = NO_DIRECTIVES
    accepts_gzip: bool = False
    wants_digest: bool = True
    wants_content_digest: bool = False
    h2_settings: bytes | None = None
    block: CutBlock | None = field(default=None, repr=False, compare=False)
    fields: Mapping[bytes, bytes] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_head(self) -> bool:
        return self.method == b"HEAD"

    def whole(self) -> Request:
        """The same request without Range."""
        return self if self.range is None else replace(self, range=None)
