"""What was found: one claim about one setting, with what it means and what to do.

Runs in: commands. Pure.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

# To the last "@": a password may have one, and a "/", that nobody has encoded.
_USER_INFO = re.compile(r"^([^/@]*://)?.*@")


class Verdict(enum.Enum):
    """The order is the order of importance."""

    PAST = "past"  # goes past the mirror, or fails
    WRONG = "wrong"  # of a server: it fails at this, or will soon
    RISK = "risk"  # of a server: it works, and something is lost unless somebody acts
    SLOW = "slow"  # goes to the mirror, with something lost on the way
    NOTE = "note"  # nobody can tell from here
    GOOD = "good"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`subject` is what it is about ("rustup toolchains"), `seen` where it was read; `remedy` ""
    when there is nothing to do."""

    verdict: Verdict
    subject: str
    sentence: str
    seen: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A URL that names a mirror: compared by scheme, host, port and path prefix."""

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        default = {"http": 80, "https": 443}.get(self.scheme)
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == default else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    def holds(self, url: str) -> bool:
        """Whether `url` is this one or lies below it, over either scheme of the same host."""
        other = parse_base(url)
        if other is None or other.host != self.host:
            return False
        same_door = other.port == self.port or other.scheme != self.scheme
        return same_door and f"{other.path}/".startswith(f"{self.path}/")


def parse_base(url: str) -> Base | None:
    """Return what an http(s) URL names, without a final slash; None for anything else."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return Base(
        scheme=parts.scheme,
        host=parts.hostname.lower(),
        port=port or (443 if parts.scheme == "https" else 80),
        path=parts.path.rstrip("/"),
    )


def shown(url: str) -> str:
    """Return `url` without the password that it may carry, as it may be printed in a CI log.

    Also what is no URL, such as a proxy's "user:password@host:port".
    """
    return _USER_INFO.sub(r"\1***@", url)


def worst(findings: Iterable[Finding]) -> Verdict:
    order = list(Verdict)
    return min((each.verdict for each in findings), key=order.index, default=Verdict.GOOD)
