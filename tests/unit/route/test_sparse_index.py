"""The grammar of the sparse index."""

from __future__ import annotations

import pytest
from hypothesis import given

from mirror.route.match import Site, match
from mirror.route.route import ContentClass, Kind, Route, Tempo, UpstreamName
from mirror.route.sparse_index import index_route, indexed_name, match_index
from tests.unit.route.paths import CRATE_NAMES, index_path


@pytest.mark.parametrize(
    ("name", "path"),
    [
        pytest.param("a", "/1/a", id="one-letter"),
        pytest.param("ab", "/2/ab", id="two-letters"),
        pytest.param("abc", "/3/a/abc", id="three-letters"),
        pytest.param("abcd", "/ab/cd/abcd", id="four-letters"),
        pytest.param("Serde_JSON", "/se/rd/serde_json", id="upper-case-is-lowered"),
        pytest.param("a-_1", "/a-/_1/a-_1", id="punctuation"),
        pytest.param("n" * 64, "/nn/nn/" + "n" * 64, id="longest"),
    ],
)
def test_a_name_has_its_path(name: str, path: str) -> None:
    route = Route(
        key=f"index:{path}",
        kind=Kind.INDEX_FILE,
        upstream=UpstreamName.INDEX,
        path=path,
        tempo=Tempo.INDEX,
        content_class=ContentClass.INDEX,
        media_type="text/plain",
    )
    assert index_route(name) == route
    assert match_index(path) == route
    assert indexed_name(route) == name.lower()


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/se/rd/Serde", id="upper-case-name"),
        pytest.param("/SE/RD/serde", id="upper-case-folders"),
        pytest.param("/xx/rd/serde", id="first-folder-disagrees"),
        pytest.param("/se/xx/serde", id="second-folder-disagrees"),
        pytest.param("/1/ab", id="two-letters-under-1"),
        pytest.param("/2/a", id="one-letter-under-2"),
        pytest.param("/2/abc", id="three-letters-under-2"),
        pytest.param("/3/abc", id="three-letters-without-a-folder"),
        pytest.param("/3/b/abc", id="three-letters-in-another-folder"),
        pytest.param("/3/a/abcd", id="four-letters-under-3"),
        pytest.param("/ab/c/abc", id="three-letters-in-a-short-folder"),
        pytest.param("/1/1", id="digit-first"),
        pytest.param("/_a/bc/_abc", id="underscore-first"),
        pytest.param("/nn/nn/" + "n" * 65, id="name-too-long"),
        pytest.param("/se/rd", id="folder"),
        pytest.param("/se/rd/", id="folder-with-a-slash"),
        pytest.param("/se/rd/serde/x", id="below-a-file"),
        pytest.param("/se/rd/serde\n", id="line-end"),
        pytest.param("/config.json", id="config"),
        pytest.param("/", id="root"),
    ],
)
def test_what_names_no_index_file_is_none(path: str) -> None:
    assert match_index(path) is None


@pytest.mark.parametrize("name", ["", "1a", "_a", "a.b", "a/b", "../x", "a\n", "\u00e4", "n" * 65])
def test_an_impossible_name_has_no_route(name: str) -> None:
    assert index_route(name) is None


@given(CRATE_NAMES)
def test_every_name_has_one_path(name: str) -> None:
    route = index_route(name)
    assert route is not None
    assert route == match_index(index_path(name))
    assert route == match(route.path.encode(), Site.INDEX)


def test_only_an_index_file_has_an_indexed_name() -> None:
    route = match(b"/manifests.txt", Site.ANY)
    assert isinstance(route, Route)
    assert indexed_name(route) is None
