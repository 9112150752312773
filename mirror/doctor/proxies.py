"""Whether requests to the mirror go through a proxy first.

Rules:
1. cargo and rustup read `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in capitals too
   (but for HTTP_PROXY, which neither reads). cargo prefers its own `http.proxy`; "" there is none.
2. An entry of `no_proxy` is "*", a host, or a domain that covers its hosts.

Runs in: commands. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mirror.doctor.cargo_files import CargoFiles, setting
from mirror.doctor.findings import Base, Finding, Verdict, shown


def judge_proxies(
    files: CargoFiles, environ: Mapping[str, str], mirror: Base | None
) -> Iterator[Finding]:
    """Say which proxies stand before the mirror."""
    if mirror is None or is_exempt(mirror.host, environ):
        return
    own, seen = setting(files, environ, "http", "proxy")
    if isinstance(own, str) and own:
        yield _through("cargo's", seen, own, mirror)
    names = ["http_proxy"] if mirror.scheme == "http" else ["https_proxy", "HTTPS_PROXY"]
    for name in (*names, "all_proxy", "ALL_PROXY"):
        if environ.get(name):
            whose = "rustup's and cargo's" if own is None else "rustup's"
            yield _through(whose, name, environ[name], mirror)
            return


def is_exempt(host: str, environ: Mapping[str, str]) -> bool:
    """Whether `no_proxy` names the host."""
    listed = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    for entry in (item.strip().lower().lstrip(".") for item in listed.split(",")):
        if entry == "*" or (entry and (host == entry or host.endswith(f".{entry}"))):
            return True
    return False


def _through(whose: str, seen: str, proxy: str, mirror: Base) -> Finding:
    return Finding(
        verdict=Verdict.SLOW,
        subject="proxy",
        sentence=f"{whose} requests to the mirror go through {shown(proxy)}",
        seen=seen,
        remedy=f"if the mirror is reached directly: export NO_PROXY={mirror.host}",
    )
