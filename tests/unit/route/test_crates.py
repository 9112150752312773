"""The grammar of crate downloads."""

from __future__ import annotations

import pytest
from hypothesis import given

from mirror.route.crates import CrateName, crate_of, crate_route, match_api, match_crate
from mirror.route.match import Site, match
from mirror.route.route import ContentClass, Kind, Route, Tempo, UpstreamName
from tests.unit.route.paths import CLAIMS, CRATE_NAMES, CRATE_VERSIONS, crate_spellings

HEX = "ab" * 32


def crate(name: str, version: str, claim: bytes = b"") -> Route:
    path = f"/crates/{name}/{name}-{version}.crate"
    return Route(
        key=f"crates:{path}",
        kind=Kind.CRATE,
        upstream=UpstreamName.CRATES,
        path=path,
        tempo=Tempo.FOREVER,
        content_class=ContentClass.CRATE,
        media_type="application/gzip",
        claim=claim,
    )


@pytest.mark.parametrize(
    ("path", "route"),
    [
        pytest.param("/crates/serde/serde-1.0.0.crate", crate("serde", "1.0.0"), id="file"),
        pytest.param("/crates/serde/1.0.0/download", crate("serde", "1.0.0"), id="download"),
        pytest.param(f"/crates/serde/1.0.0/{HEX}/download",
                     crate("serde", "1.0.0", b"\xab" * 32), id="download-with-a-claim"),
        pytest.param(f"/crates/serde/{HEX}/serde-1.0.0.crate",
                     crate("serde", "1.0.0", b"\xab" * 32), id="file-with-a-claim"),
        pytest.param("/crates/MixedCase/MixedCase-1.0.0+build.5.crate",
                     crate("MixedCase", "1.0.0+build.5"), id="case-and-build-are-kept"),
        pytest.param("/crates/a-b/a-b-1.0.0-rc.1.crate", crate("a-b", "1.0.0-rc.1"),
                     id="hyphens-on-both-sides"),
        pytest.param("/crates/a_b/a_b-0.0.0--.crate", crate("a_b", "0.0.0--"),
                     id="hyphen-as-prerelease"),
        pytest.param("/crates/a-1/a-1-2.0.0.crate", crate("a-1", "2.0.0"), id="digit-in-a-name"),
        pytest.param("/crates/a/a-1.0.0-x.crate.crate", crate("a", "1.0.0-x.crate"),
                     id="suffix-inside-a-version"),
        pytest.param("/crates/download/1.0.0/download", crate("download", "1.0.0"),
                     id="crate-called-download"),
        pytest.param("/crates/" + "n" * 64 + "/1.0.0/download", crate("n" * 64, "1.0.0"),
                     id="longest-name"),
        pytest.param("/crates/n/1.0.0-" + "v" * 122 + "/download",
                     crate("n", "1.0.0-" + "v" * 122), id="longest-version"),
    ],
)  # fmt: skip
def test_a_spelling_names_its_crate(path: str, route: Route) -> None:
    assert match_crate(path) == route
    assert match_api("/api/v1" + path) == route


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/crates/serde", id="name-only"),
        pytest.param("/crates/serde/1.0.0", id="no-download"),
        pytest.param("/crates/serde/1.0.0/download/x", id="below-a-download"),
        pytest.param("/crates/serde/1.0.0/Download", id="download-in-upper-case"),
        pytest.param("/crates/serde/serde_derive-1.0.0.crate", id="another-name-in-the-file"),
        pytest.param("/crates/serde/Serde-1.0.0.crate", id="another-case-in-the-file"),
        pytest.param("/crates/serde/serde-1.0.0.crate.crate.gz", id="other-suffix"),
        pytest.param("/crates/serde/serde-1.0.0.zip", id="source-browser"),
        pytest.param("/crates/serde/serde-1.0.crate", id="two-numbers"),
        pytest.param("/crates/serde/serde-v1.0.0.crate", id="letter-before-the-version"),
        pytest.param("/crates/serde/serde-01.0.0.crate", id="leading-zero"),
        pytest.param("/crates/serde/serde-1.0.0-.crate", id="empty-prerelease"),
        pytest.param("/crates/serde/serde-1.0.0-a..b.crate", id="empty-part-of-a-prerelease"),
        pytest.param("/crates/serde/serde-1.0.0+.crate", id="empty-build"),
        pytest.param("/crates/serde/serde-1.0.0+a+b.crate", id="two-builds"),
        pytest.param("/crates/serde/serde-1.0.0 a.crate", id="plus-read-as-a-space"),
        pytest.param("/crates/1serde/1serde-1.0.0.crate", id="digit-first"),
        pytest.param("/crates/_serde/_serde-1.0.0.crate", id="underscore-first"),
        pytest.param("/crates/" + "n" * 65 + "/1.0.0/download", id="name-too-long"),
        pytest.param("/crates/n/1.0.0-" + "v" * 123 + "/download", id="version-too-long"),
        pytest.param(f"/crates/serde/1.0.0/{HEX[:-1]}/download", id="claim-of-63-digits"),
        pytest.param(f"/crates/serde/1.0.0/{HEX}0/download", id="claim-of-65-digits"),
        pytest.param(f"/crates/serde/1.0.0/{HEX.upper()}/download", id="claim-in-upper-case"),
        pytest.param(f"/crates/serde/{HEX}/1.0.0/download", id="claim-before-the-version"),
        pytest.param(f"/crates/serde/{HEX}/{HEX}/serde-1.0.0.crate", id="two-claims"),
        pytest.param(f"/crates/serde/{HEX}/download", id="claim-as-version"),
        pytest.param("/crates/serde/serde-1.0.0.crate\n", id="line-end"),
        pytest.param("/crates/serde/serde-\u0661.0.0.crate", id="unicode-digit"),
    ],
)
def test_what_names_no_crate_is_none(path: str) -> None:
    assert match_crate(path) is None


def test_the_api_has_one_prefix() -> None:
    assert match_api("/api/v2/crates/a/1.0.0/download") is None
    assert match_api("/api/v1crates/a/1.0.0/download") is None


@given(CRATE_NAMES, CRATE_VERSIONS, CLAIMS)
def test_all_spellings_of_a_crate_have_one_key_and_the_claim_is_never_in_it(
    name: str, version: str, claim: bytes
) -> None:
    routes = [match(p.encode(), Site.ANY) for p in crate_spellings(name, version, claim)]
    plain = crate_route(name, version)
    assert plain is not None
    assert crate_of(plain) == CrateName(name=name, version=version)
    for route in routes:
        assert isinstance(route, Route)
        assert route.key == plain.key
        assert route.claim in (b"", claim)
    assert [getattr(route, "claim", None) for route in routes[3:]] == [claim, claim]


@pytest.mark.parametrize(
    ("name", "version"),
    [
        pytest.param("../a", "1.0.0", id="traversal-in-the-name"),
        pytest.param("a", "1.0.0/../..", id="traversal-in-the-version"),
        pytest.param("", "1.0.0", id="no-name"),
        pytest.param("a", "", id="no-version"),
        pytest.param("a\n", "1.0.0", id="line-end"),
        pytest.param("a", "1.0.0-" + "v" * 200, id="version-too-long"),
    ],
)
def test_an_impossible_crate_has_no_route(name: str, version: str) -> None:
    assert crate_route(name, version) is None


def test_only_a_crate_has_a_crates_name() -> None:
    route = match(b"/index/se/rd/serde", Site.ANY)
    assert isinstance(route, Route)
    assert crate_of(route) is None
