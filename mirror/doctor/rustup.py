"""Where rustup fetches toolchains and itself from, as its environment says.

Rules (rustup 1.29: doc/user-guide/src/environment-variables.md, src/dist/download.rs):
1. An empty variable counts as unset.
2. `RUSTUP_DIST_SERVER` replaces https://static.rust-lang.org for manifests and components;
   `RUSTUP_DIST_ROOT`, deprecated, is the same with "/dist" at its end, and is read only without it.
3. `RUSTUP_UPDATE_ROOT` is apart from it: rustup's own updates, and rustup-init. `rustup update` and
   `rustup check` do not ask there where `CI` is set (to anything), or where settings.toml says
   `auto_self_update = "disable"`.
4. rustup-init.sh speaks https only.

Runs in: commands. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mirror.doctor.findings import Base, Finding, Verdict, parse_base, shown

DIST = "RUSTUP_DIST_SERVER"
OLD_DIST = "RUSTUP_DIST_ROOT"
UPDATE = "RUSTUP_UPDATE_ROOT"
_TOOLCHAINS = "rustup toolchains"
_ITSELF = "rustup itself"
_UPSTREAM = "https://static.rust-lang.org"


def dist_url(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the URL that toolchains come from and the variable that says so ("": the default)."""
    if environ.get(DIST):
        return environ[DIST], DIST
    old = environ.get(OLD_DIST, "")
    return (old.removesuffix("/dist"), OLD_DIST) if old else (_UPSTREAM, "")


def judge_rustup(
    environ: Mapping[str, str], mirror: Base | None, *, self_update: str = ""
) -> Iterator[Finding]:
    """Say where rustup goes; `mirror` None: nobody knows where the mirror is.

    `self_update` is `auto_self_update` of rustup's settings.
    """
    yield _toolchains(environ, mirror)
    yield _itself(environ, mirror, self_update)
    yield from _odd(environ)


def _toolchains(environ: Mapping[str, str], mirror: Base | None) -> Finding:
    url, variable = dist_url(environ)
    remedy = f"export {DIST}={mirror or 'https://MIRROR'}"
    if not variable:
        return Finding(
            verdict=Verdict.PAST,
            subject=_TOOLCHAINS,
            sentence=f"come from {_UPSTREAM}: {DIST} is not set",
            remedy=remedy,
        )
    if parse_base(url) is None:
        return Finding(
            verdict=Verdict.PAST,
            subject=_TOOLCHAINS,
            sentence=f"cannot be fetched: {variable} is no http:// or https:// URL",
            seen=f"{variable}={shown(url)}",
            remedy=remedy,
        )
    if mirror is not None and not mirror.holds(url):
        return Finding(
            verdict=Verdict.PAST,
            subject=_TOOLCHAINS,
            sentence=f"come from another host than the mirror: {shown(url)}",
            seen=variable,
            remedy=remedy,
        )
    return Finding(
        verdict=Verdict.GOOD,
        subject=_TOOLCHAINS,
        sentence=f"come from {shown(url)}",
        seen=variable,
    )


def _itself(environ: Mapping[str, str], mirror: Base | None, self_update: str) -> Finding:
    url = environ.get(UPDATE, "")
    when = "`rustup update` and `rustup check` ask there each time"
    if environ.get("CI") or self_update == "disable":
        why = "CI is set" if environ.get("CI") else "its settings say so"
        when = f"`rustup self update` and rustup-init.sh ask there; `rustup update` not, as {why}"
    remedy = f"export {UPDATE}={mirror or 'https://MIRROR'}/rustup"
    if not url:
        return Finding(
            verdict=Verdict.PAST,
            subject=_ITSELF,
            sentence=(
                f"updates from {_UPSTREAM}: {UPDATE} is not set, and {DIST} does not cover it "
                f"({when})"
            ),
            remedy=remedy,
        )
    if parse_base(url) is None or (mirror is not None and not mirror.holds(url)):
        return Finding(
            verdict=Verdict.PAST,
            subject=_ITSELF,
            sentence=f"updates from another place than the mirror: {shown(url)}",
            seen=UPDATE,
            remedy=remedy,
        )
    if not url.rstrip("/").endswith("/rustup"):
        return Finding(
            verdict=Verdict.PAST,
            subject=_ITSELF,
            sentence="cannot update: the mirror has rustup's files below /rustup",
            seen=f"{UPDATE}={shown(url)}",
            remedy=remedy,
        )
    return Finding(
        verdict=Verdict.GOOD, subject=_ITSELF, sentence=f"updates from {shown(url)}", seen=UPDATE
    )


def _odd(environ: Mapping[str, str]) -> Iterator[Finding]:
    url, variable = dist_url(environ)
    if environ.get("SUDO_USER"):
        yield Finding(
            verdict=Verdict.NOTE,
            subject="sudo",
            sentence="drops variables: what is set in the job may be missing here, and the reverse",
            seen="SUDO_USER",
            remedy=f"sudo --preserve-env={DIST},{UPDATE},CARGO_HOME …",
        )
    if variable == OLD_DIST:
        yield Finding(
            verdict=Verdict.NOTE,
            subject=_TOOLCHAINS,
            sentence=f"{OLD_DIST} is deprecated",
            seen=OLD_DIST,
            remedy=f"export {DIST}={shown(url)}",
        )
    if variable and url.rstrip("/").endswith("/dist"):
        yield Finding(
            verdict=Verdict.PAST,
            subject=_TOOLCHAINS,
            sentence="cannot be fetched: rustup adds /dist itself",
            seen=f"{variable}={shown(url)}",
            remedy=f"export {DIST}={shown(url.rstrip('/').removesuffix('/dist'))}",
        )
    if environ.get(UPDATE, "").startswith("http:"):
        yield Finding(
            verdict=Verdict.NOTE,
            subject="rustup-init.sh",
            sentence=(
                "speaks https only: it cannot install rustup from an http:// URL (a rustup that "
                "is installed can use it)"
            ),
            seen=UPDATE,
        )
