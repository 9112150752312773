"""Raw targets: what is accepted, what is refused, and that no two objects share a key."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.route.match import Site, match, route_of_key, site_of_host
from mirror.route.route import Local, LocalRoute, Refusal, Route
from tests.unit.route.paths import PATHS

CRATE = b"/crates/serde/serde-1.0.0.crate"


def key_of(raw: bytes, site: Site = Site.ANY) -> str | None:
    found = match(raw, site)
    return found.key if isinstance(found, Route) else None


@pytest.mark.parametrize(
    ("raw", "status", "close"),
    [
        pytest.param(b"/../etc/passwd", 400, True, id="dot-dot-at-the-root"),
        pytest.param(b"/dist/../manifests.txt", 400, True, id="dot-dot-inside"),
        pytest.param(b"/dist/..", 400, True, id="dot-dot-at-the-end"),
        pytest.param(b"/dist/../../../../etc/passwd", 400, True, id="dot-dot-many"),
        pytest.param(b"//..//dist/channel-rust-stable.toml", 400, True, id="dot-dot-slashes"),
        pytest.param(b"/dist/./channel-rust-stable.toml", 400, True, id="dot-inside"),
        pytest.param(b"/dist/.", 400, True, id="dot-at-the-end"),
        pytest.param(b"/.", 400, True, id="dot-alone"),
        pytest.param(b"/crates/serde/../serde/serde-1.0.0.crate", 400, True, id="dot-dot-in-crate"),
        pytest.param(b"/%2e%2e/etc/passwd", 400, True, id="encoded-dots"),
        pytest.param(b"/%2E%2E/", 400, True, id="encoded-dots-upper-case"),
        pytest.param(b"/.%2e/", 400, True, id="half-encoded-dots"),
        pytest.param(b"/dist%2fchannel-rust-stable.toml", 400, True, id="encoded-slash"),
        pytest.param(b"/dist/..%2f..%2f", 400, True, id="encoded-slash-after-dots"),
        pytest.param(b"/dist/%5c..%5c", 400, True, id="encoded-backslash"),
        pytest.param(b"/dist/%00", 400, True, id="encoded-nul"),
        pytest.param(CRATE + b"%00.txt", 400, True, id="encoded-nul-behind-a-crate"),
        pytest.param(CRATE + b"%0d%0aX:%20y", 400, True, id="encoded-line-end"),
        pytest.param(b"/crates/serde/serde-1.0.0%252Bb.crate", 400, True, id="double-encoded-plus"),
        pytest.param(b"/%2525", 400, True, id="double-encoded"),
        pytest.param(b"/crates/%73erde/serde-1.0.0.crate", 400, True, id="encoded-letter"),
        pytest.param(b"/index/se%2Frd/serde", 400, True, id="encoded-slash-in-index"),
        pytest.param(b"/%c0%ae%c0%ae/", 400, True, id="overlong-utf-8-dots"),
        pytest.param(b"/%uff0e%uff0e/", 400, True, id="percent-u"),
        pytest.param(b"/%", 400, True, id="lone-percent"),
        pytest.param(b"/a%2", 400, True, id="cut-escape"),
        pytest.param(b"/%%2b2F", 400, True, id="escape-made-by-decoding-plus"),
        pytest.param(b"/dist\\..\\x", 400, True, id="backslash"),
        pytest.param(b"/\\evil.example/x", 400, True, id="backslash-first"),
        pytest.param(b"/dist/\0", 400, True, id="nul"),
        pytest.param(CRATE + b"\0", 400, True, id="nul-behind-a-crate"),
        pytest.param(CRATE + b"\n", 400, True, id="line-end-behind-a-crate"),
        pytest.param(CRATE + b"\r\nHost: x", 400, True, id="header-injection"),
        pytest.param(b"/dist/a\tb", 400, True, id="tab"),
        pytest.param(b"/dist/a b", 400, True, id="space"),
        pytest.param(b"/dist/\x1b[2J", 400, True, id="terminal-escape"),
        pytest.param(b"/dist/\x7f", 400, True, id="delete"),
        pytest.param("/dist/\u00fc".encode(), 400, True, id="utf-8"),
        pytest.param("/index/se/rd/\u017ferde".encode(), 400, True, id="letter-that-folds-to-s"),
        pytest.param("/dist/\u2024\u2024/x".encode(), 400, True, id="one-dot-leaders"),
        pytest.param(b"/dist/\xff", 400, True, id="no-utf-8"),
        pytest.param(b"/dist/x#y", 400, True, id="fragment"),
        pytest.param(b"/dist/<script>", 400, True, id="markup"),
        pytest.param(b'/dist/"x"', 400, True, id="quotes"),
        pytest.param(b"/dist/{x}|^`", 400, True, id="not-in-any-url"),
        pytest.param(b"", 400, True, id="empty"),
        pytest.param(b"*", 400, True, id="asterisk"),
        pytest.param(b"dist/channel-rust-stable.toml", 400, True, id="no-slash-first"),
        pytest.param(b"http://a/dist/x", 400, True, id="absolute-form"),
        pytest.param(CRATE + b"?", 400, False, id="empty-query"),
        pytest.param(CRATE + b"?x=1", 400, False, id="query"),
        pytest.param(b"/?next=//evil.example/%2e%2e", 400, False, id="query-with-escapes"),
        pytest.param(b"/?a=\0", 400, True, id="nul-in-the-query"),
        pytest.param(b"/?a#b", 400, True, id="fragment-behind-a-query"),
        pytest.param(b"/..?x", 400, True, id="dots-before-a-query"),
        pytest.param(b"/%41?x", 400, True, id="escape-before-a-query"),
        pytest.param(b"/a b?x", 400, True, id="space-before-a-query"),
        pytest.param(b"/dist", 404, False, id="dist-itself"),
        pytest.param(b"/dist/", 404, False, id="dist-page"),
        pytest.param(b"/dist/2026-01-01/", 404, False, id="dated-page"),
        pytest.param(b"/dist/2026-01-01/index.html", 404, False, id="dated-listing"),
        pytest.param(b"/doc/stable/std/index.html", 404, False, id="documentation"),
        pytest.param(b"/...", 404, False, id="three-dots"),
        pytest.param(b"/dist/.git/config", 404, False, id="hidden-file"),
        pytest.param(b"/dist/..x", 404, False, id="two-dots-in-a-name"),
        pytest.param(b"/dist/rustc..tar.gz", 404, False, id="two-dots-before-the-suffix"),
        pytest.param(CRATE + b"/", 404, False, id="slash-behind-a-crate"),
        pytest.param(CRATE + b";x=1", 404, False, id="path-parameter"),
        pytest.param(b"/Dist/channel-rust-stable.toml", 404, False, id="upper-case-folder"),
        pytest.param(b"/DIST/CHANNEL-RUST-STABLE.TOML", 404, False, id="upper-case"),
        pytest.param(b"/config.json", 404, False, id="config-outside-the-index"),
        pytest.param(b"/index", 404, False, id="index-itself"),
        pytest.param(b"/index/", 404, False, id="index-page"),
        pytest.param(b"/index/Config.json", 404, False, id="config-in-upper-case"),
        pytest.param(b"/livez/", 404, False, id="health-with-a-slash"),
        pytest.param(b"/api/v1/crates/serde", 404, False, id="the-rest-of-the-api"),
        pytest.param(b"/api/v1", 404, False, id="the-api-itself"),
        pytest.param(b"/rustup", 404, False, id="rustup-itself"),
        pytest.param(b"/manifests.txt/x", 404, False, id="below-a-file"),
        pytest.param(b"/" + b"a" * 4000, 404, False, id="far-too-long"),
        pytest.param(b"/dist/" + b"a" * 600 + b".tar.gz", 404, False, id="file-name-too-long"),
    ],
)
def test_attack_or_mistake_is_refused(raw: bytes, status: int, close: bool) -> None:
    found = match(raw, Site.ANY)
    assert isinstance(found, Refusal)
    assert (found.status, found.close) == (status, close)
    assert found.reason.endswith(".")
    for site in Site:
        assert not isinstance(match(raw, site), Route)


@pytest.mark.parametrize(
    ("raw", "local", "sites"),
    [
        pytest.param(b"/", Local.FRONT_PAGE, set(Site), id="front-page"),
        pytest.param(b"//", Local.FRONT_PAGE, set(Site), id="front-page-with-two-slashes"),
        pytest.param(b"/livez", Local.LIVEZ, set(Site), id="livez"),
        pytest.param(b"/readyz", Local.READYZ, set(Site), id="readyz"),
        pytest.param(b"/robots.txt", Local.ROBOTS, set(Site), id="robots"),
        pytest.param(b"/rustup.sh", Local.RUSTUP_SH, {Site.ANY, Site.RELEASES}, id="rustup-sh"),
        pytest.param(b"/index/config.json", Local.INDEX_CONFIG, {Site.ANY}, id="config"),
        pytest.param(
            b"/crates.io-index/config.json", Local.INDEX_CONFIG, {Site.ANY}, id="config-other-name"
        ),
        pytest.param(b"/config.json", Local.INDEX_CONFIG, {Site.INDEX}, id="config-at-the-root"),
    ],
)
def test_some_answers_are_made_here(raw: bytes, local: Local, sites: set[Site]) -> None:
    here = {site for site in Site if match(raw, site) == LocalRoute(local=local)}
    assert here == sites


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        pytest.param(b"//dist/channel-rust-stable.toml", "releases:/dist/channel-rust-stable.toml",
                     id="two-slashes-first"),
        pytest.param(b"///dist////channel-rust-stable.toml",
                     "releases:/dist/channel-rust-stable.toml", id="runs-of-slashes"),
        pytest.param(b"/crates/a/a-1.0.0+b.crate", "crates:/crates/a/a-1.0.0+b.crate", id="plus"),
        pytest.param(b"/crates/a/a-1.0.0%2Bb.crate", "crates:/crates/a/a-1.0.0+b.crate",
                     id="encoded-plus"),
        pytest.param(b"/crates/a/a-1.0.0%2bb.crate", "crates:/crates/a/a-1.0.0+b.crate",
                     id="encoded-plus-in-lower-case"),
    ],
)  # fmt: skip
def test_spellings_of_one_object_have_one_key(raw: bytes, key: str) -> None:
    assert key_of(raw) == key


SITE_PATHS = {
    Site.RELEASES: [b"/dist/channel-rust-stable.toml", b"/manifests.txt", b"/rust-key.gpg.ascii",
                    b"/rustup/release-stable.toml"],
    Site.CRATES: [CRATE, b"/crates/serde/1.0.0/download", b"/api/v1/crates/serde/1.0.0/download"],
    Site.INDEX: [b"/se/rd/serde", b"/1/a", b"/2/ab", b"/3/a/abc"],
}  # fmt: skip


@pytest.mark.parametrize("site", SITE_PATHS)
def test_an_upstream_host_serves_its_own_tree_only(site: Site) -> None:
    for owner, raws in SITE_PATHS.items():
        for raw in raws:
            assert (key_of(raw, site) is not None) is (owner is site), raw


def test_this_mirrors_own_hosts_serve_all_trees_with_the_index_under_a_prefix() -> None:
    assert all(key_of(raw) for raw in SITE_PATHS[Site.RELEASES] + SITE_PATHS[Site.CRATES])
    for raw in SITE_PATHS[Site.INDEX]:
        assert key_of(raw) is None
        assert key_of(b"/index" + raw) == key_of(raw, Site.INDEX)
        assert key_of(b"/crates.io-index" + raw) == key_of(raw, Site.INDEX)


def test_a_crate_named_like_a_folder_of_ours_has_its_index_file() -> None:
    assert key_of(b"/cr/at/crates", Site.INDEX) == "index:/cr/at/crates"
    assert key_of(b"/index/in/de/index") == "index:/in/de/index"
    assert key_of(b"/index/di/st/dist") == "index:/di/st/dist"


@pytest.mark.parametrize(
    ("host", "site"),
    [
        pytest.param("static.rust-lang.org", Site.RELEASES, id="releases"),
        pytest.param("static.crates.io", Site.CRATES, id="crates"),
        pytest.param("index.crates.io", Site.INDEX, id="index"),
        pytest.param("mirror.example", Site.ANY, id="other"),
        pytest.param("evil.static.crates.io", Site.ANY, id="below"),
        pytest.param("", Site.ANY, id="empty"),
    ],
)
def test_a_host_stands_for_a_site(host: str, site: Site) -> None:
    assert site_of_host(host) is site


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("", id="empty"),
        pytest.param(":", id="only-a-colon"),
        pytest.param("/dist/channel-rust-stable.toml", id="no-upstream"),
        pytest.param("any:/dist/channel-rust-stable.toml", id="a-site-that-is-no-upstream"),
        pytest.param("origin:/x", id="unknown-upstream"),
        pytest.param("Releases:/manifests.txt", id="upstream-in-upper-case"),
        pytest.param("crates:/dist/channel-rust-stable.toml", id="another-upstreams-path"),
        pytest.param("releases://dist/channel-rust-stable.toml", id="not-canonical-slashes"),
        pytest.param("crates:/crates/a/a-1.0.0%2Bb.crate", id="not-canonical-plus"),
        pytest.param("crates:/crates/a/1.0.0/download", id="not-canonical-spelling"),
        pytest.param(f"crates:/crates/a/{'ab' * 32}/a-1.0.0.crate", id="with-a-claim"),
        pytest.param("releases:/dist/../x", id="traversal"),
        pytest.param("releases:/livez", id="local-answer"),
        pytest.param("index:/config.json", id="generated-config"),
        pytest.param("index:/index/se/rd/serde", id="prefix-of-this-mirror"),
        pytest.param("index:/se/rd/serde\n", id="line-end"),
        pytest.param("index:/se/rd/\u017ferde", id="not-ascii"),
        pytest.param("releases:/manifests.txt\udcff", id="lone-surrogate"),
    ],
)
def test_what_is_not_exactly_a_key_is_none(key: str) -> None:
    assert route_of_key(key) is None


@given(PATHS)
def test_a_key_leads_back_to_its_route(path: str) -> None:
    route = match(path.encode(), Site.ANY)
    assert isinstance(route, Route)
    again = route_of_key(route.key)
    assert again is not None
    assert again.key == route.key == f"{route.upstream.value}:{route.path}"
    assert (again.kind, again.tempo, again.media_type) == (
        route.kind,
        route.tempo,
        route.media_type,
    )
    assert again.claim == b""


SPELLINGS = st.sampled_from([("/", "//"), ("/", "///"), ("+", "%2B"), ("+", "%2b")])
MUTATIONS = st.lists(st.tuples(SPELLINGS, st.integers(0, 5)), max_size=3)


@given(PATHS, MUTATIONS)
def test_other_spellings_have_the_same_key(
    path: str, mutations: list[tuple[tuple[str, str], int]]
) -> None:
    spelled = path
    for (plain, other), count in mutations:
        spelled = spelled.replace(plain, other, count)
    assert key_of(spelled.encode()) == key_of(path.encode())


PIECES = st.sampled_from(
    [b"/", b"//", b".", b"..", b"%2e", b"%2F", b"%2B", b"+", b"\0", b"\\", b"?", b"#", b"dist",
     b"2026-01-01", b"channel-rust-stable.toml", b"crates", b"a", b"A", b"a-1.0.0.crate", b"1.0.0",
     b"download", b"index", b"1", b"-", b"rustup", b"manifests.txt", b".sha256", b"\xff", b"ab"]
)  # fmt: skip
HOSTILE = st.lists(PIECES, max_size=8).map(b"".join) | st.binary(max_size=40)


@given(HOSTILE | PATHS.map(str.encode), st.sampled_from(Site))
def test_an_accepted_path_holds_nothing_that_a_reader_could_take_otherwise(
    raw: bytes, site: Site
) -> None:
    found = match(raw, site)
    if isinstance(found, Route):
        assert re.fullmatch(r"(/[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*)+", found.path)
        assert ".." not in found.path
        assert "%" not in found.path


@given(HOSTILE | PATHS.map(str.encode), HOSTILE | PATHS.map(str.encode))
def test_one_key_means_one_path(one: bytes, other: bytes) -> None:
    first, second = match(one, Site.ANY), match(other, Site.ANY)
    if isinstance(first, Route) and isinstance(second, Route) and first.key == second.key:
        assert (first.path, first.upstream) == (second.path, second.upstream)


@given(PATHS, st.integers(0, 400), st.binary(min_size=1, max_size=2))
def test_a_changed_byte_never_gives_the_key_of_the_unchanged_path_by_decoding(
    path: str, at: int, inserted: bytes
) -> None:
    """An insertion that keeps the key is one more slash, or a client's claim; nothing else."""
    raw = path.encode()
    at = min(at, len(raw))
    changed = raw[:at] + inserted + raw[at:]
    if key_of(changed) == key_of(raw):
        assert set(inserted) == {ord("/")}


def test_the_longest_path_is_still_a_name_and_one_byte_more_is_not() -> None:
    name = b"/dist/" + b"a" * (512 - len("/dist/.tar.gz")) + b".tar.gz"
    assert key_of(name) is not None
    assert key_of(name.replace(b"a", b"aa", 1)) is None


def test_matching_time_is_linear_for_the_worst_of_long_names() -> None:
    """Work is bounded by length before a grammar sees the path; no input of any size is slow."""
    for raw in (
        b"/dist/" + b"a." * 30_000,
        b"/dist/" + b"a-1.0.0" * 60,
        b"/crates/a/a-1.0.0-" + b"a." * 200,
        b"/" * 60_000,
        b"/" + b"./" * 30_000,
    ):
        assert not isinstance(match(raw, Site.ANY), Route)
