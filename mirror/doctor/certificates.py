"""Whether clients will go on accepting the certificate of `[serve.tls]`.

Rules:
1. Names are those of subjectAltName (RFC 9525); a wildcard stands for one whole label, the first.
2. The server's own certificate comes first in the file, each further one has issued the one before.

Units: Unix seconds.
Does not: read files (`cli.doctor_certificates`).
Runs in: commands. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mirror.doctor.findings import Finding
from mirror.doctor.said import good, note, risk, span, wrong

SOON_S = 30 * 86400.0
NOW_S = 7 * 86400.0
_SUBJECT = "certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One certificate of the file; `is_issued_by_next`: the one after it has signed it."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before_at: float
    not_after_at: float
    is_issued_by_next: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What the two files hold. `fits_key`: the key is that of the first certificate.

    `public_host` "": clients' names for this mirror are not known. `is_at_door`: the port of
    `public_url` is one that the mirror speaks TLS on itself.
    """

    path: str
    certificates: Sequence[Certificate]
    fits_key: bool
    public_host: str
    is_at_door: bool


def judge_chain(chain: Chain, now: float) -> Iterator[Finding]:
    if not chain.certificates:
        yield wrong(_SUBJECT, "the file holds none", "put the server's there, as PEM", chain.path)
        return
    yield _expiry(chain, now)
    if not chain.fits_key:
        sentence = "the private key is not that of the first certificate in the file"
        remedy = "put the server's own certificate first, its intermediates after it"
        yield wrong(_SUBJECT, sentence, remedy, chain.path)
    yield from _order(chain)
    yield from _names(chain)


def covers(names: Sequence[str], host: str) -> bool:
    """Whether a certificate with these names is good for `host` (a name or an address)."""
    wanted = host.lower().rstrip(".")
    rest = wanted.partition(".")[2]
    return any(
        name.lower() == wanted or (bool(rest) and name.lower() == f"*.{rest}") for name in names
    )


def _expiry(chain: Chain, now: float) -> Finding:
    first = min(chain.certificates, key=lambda each: each.not_after_at)
    left_s = first.not_after_at - now
    seen, remedy = first.subject, "renew it; the mirror takes the new files over by itself"
    if left_s <= 0:
        return wrong(_SUBJECT, f"has expired {span(-left_s)} ago: clients refuse it", remedy, seen)
    if (early_s := max(each.not_before_at for each in chain.certificates) - now) > 0:
        sentence = f"is not valid yet, for {span(early_s)}: clients refuse it"
        return wrong(_SUBJECT, sentence, "see the clock, or wait", seen)
    if left_s < NOW_S:
        return wrong(_SUBJECT, f"expires in {span(left_s)}", remedy, seen)
    if left_s < SOON_S:
        return risk(_SUBJECT, f"expires in {span(left_s)}", remedy, seen)
    return good(_SUBJECT, f"is valid for {span(left_s)}", seen)


def _order(chain: Chain) -> Iterator[Finding]:
    for one, other in zip(chain.certificates, chain.certificates[1:], strict=False):
        if not one.is_issued_by_next:
            sentence = f"{other.subject} stands after {one.subject}, but has not issued it"
            remedy = (
                "order the file: the server's own first, then whoever has signed the one before"
            )
            yield risk("certificate chain", sentence, remedy, chain.path)
            return
    first = chain.certificates[0]
    if len(chain.certificates) == 1 and first.subject != first.issuer:
        sentence = "holds no intermediate certificate"
        remedy = f"if clients do not trust {first.issuer} itself, append its certificate"
        yield note("certificate chain", sentence, remedy, chain.path)


def _names(chain: Chain) -> Iterator[Finding]:
    names = chain.certificates[0].names
    if not names:
        sentence, remedy = "has no names in subjectAltName: clients refuse it", "have one made with"
        yield wrong(_SUBJECT, sentence, f"{remedy} DNS names", chain.path)
    elif chain.public_host and not covers(names, chain.public_host):
        sentence = (
            f"is for {', '.join(names[:5])}, not for {chain.public_host} ([serve] public_url)"
        )
        if chain.is_at_door:
            remedy = "have that name put into it, or correct public_url"
            yield wrong(_SUBJECT, sentence, remedy, chain.path)
        else:
            remedy = "that is well where a proxy in front has a certificate of its own"
            yield note(_SUBJECT, sentence, remedy, chain.path)
