"""Which client group a connection, or a request of it, is counted under.

Rules:
1. A connection's group follows from its peer's address and its client certificate; of two rules
   that match, the one that stands first in the configuration wins.
2. What a trusted proxy says of its client (X-Forwarded-For, the configured field) decides in place
   of the connection; anybody else's claim is ignored.

Runs in: worker. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from mirror.accounting.layout import OTHER
from mirror.serve.client_address import TrustedProxies, client_address
from mirror.serve.ports import GroupTable

FORWARDED_FOR: Final = b"x-forwarded-for"
# RFC 4514 section 3; other attributes keep the name that Python gives them.
_SHORT: Final = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


class OneGroup:
    """The `ports.GroupTable` of a configuration without groups."""

    names: Sequence[str] = ()
    header = b""

    def of_address(self, address: str) -> int:
        return 0

    def of_header(self, value: bytes) -> int | None:
        return None

    def of_subject(self, subject: str) -> int | None:
        return None


class ClientGroups:
    """Asks the table; `trusted` are the proxies that are believed."""

    __slots__ = ("_table", "_trusted", "header", "names")

    def __init__(self, table: GroupTable, trusted: TrustedProxies) -> None:
        self._table = table
        self._trusted = trusted
        self.names = (*table.names, OTHER)
        self.header = table.header

    def of_connection(self, peer: str, certificate: Mapping[str, object] | None) -> int:
        """Return the group of a connection; `certificate` is as `SSLObject.getpeercert` has it."""
        if len(self.names) == 1:
            return 0
        group = self._table.of_address(peer)
        if certificate:
            named = self._table.of_subject(subject_of(certificate))
            group = group if named is None else min(group, named)
        return group

    def of_request(self, group: int, peer: str, fields: Mapping[bytes, bytes]) -> int:
        """Return the group of a request on a connection of `group`."""
        if len(self.names) == 1 or not (FORWARDED_FOR in fields or self.header in fields):
            return group
        if not self._trusted.trusts(peer):
            return group
        forwarded_for = fields.get(FORWARDED_FOR)
        if forwarded_for is not None:
            client = client_address(peer, forwarded_for, self._trusted)
            group = self._table.of_address(client)
        value = fields.get(self.header) if self.header else None
        named = None if value is None else self._table.of_header(value)
        return group if named is None else min(group, named)

    def may_learn(self, fields: Mapping[bytes, bytes]) -> bool:
        """Whether requests with these fields are always of their connection's group."""
        return not self.header or self.header not in fields


def subject_of(certificate: Mapping[str, object]) -> str:
    """Return the subject as text, "CN=…,OU=…,O=…": the last attribute first (RFC 4514)."""
    subject = certificate.get("subject", ())
    pairs = [pair for part in subject for pair in part] if isinstance(subject, tuple) else []
    return ",".join(
        f"{_SHORT.get(name, name)}={_escaped(value)}" for name, value in reversed(pairs)
    )


def _escaped(value: str) -> str:
    """A comma within a value is not the end of it: "CN=a,O=b" must not pass for two attributes."""
    return value.replace("\\", "\\\\").replace(",", "\\,")
