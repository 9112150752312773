"""The files of the dashboard: whole, guarded, and of this package only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from mirror.control import pages
from mirror.control.pages import FILES, SECURITY_FIELDS, answer_page, read_pages

FOLDER = Path(pages.__file__).parent / "pages"
OWN = sorted(path for path in FOLDER.glob("*") if path.is_file())


def test_every_own_file_is_served() -> None:
    assert {path.name for path in OWN} == {
        name for name, _ in FILES.values() if not name.startswith("vendor/")
    }
    served = read_pages()
    assert all(served[path].content for path in ("/", "/object", "/assets/dashboard.js"))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_page_makes_markup_from_text_or_asks_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|setHTML"
    assert re.findall(markup, text) == []
    assert [url for url in re.findall(r"https?://[\w./-]+", text) if "www.w3.org" not in url] == []
    if path.suffix == ".html":
        assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", text) == []


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_what_a_page_loads_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    wanted = set(re.findall(r'"(/assets/[\w./-]+)"', text))
    assert wanted <= set(FILES)


def test_pages_run_nothing_but_their_own_scripts() -> None:
    policy = SECURITY_FIELDS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy


def test_a_known_page_is_confirmed_and_an_unknown_one_is_sent_coded() -> None:
    page = read_pages()["/assets/dashboard.css"]
    accepts = {"Accept-Encoding": "gzip"}
    whole = answer_page(make_mocked_request("GET", "/", headers=accepts), page)
    assert whole.headers["Content-Encoding"] == "gzip"
    assert whole.headers["X-Frame-Options"] == "DENY"
    known = {"If-None-Match": whole.headers["ETag"]}
    assert answer_page(make_mocked_request("GET", "/", headers=known), page).status == 304
    plain = answer_page(make_mocked_request("GET", "/"), page)
    assert plain.body == page.content


def test_the_charts_library_may_be_absent(tmp_path: Path) -> None:
    for name, _ in FILES.values():
        if not name.startswith("vendor/"):
            (tmp_path / name).write_text("x")
    served = read_pages(tmp_path)
    assert set(served) == set(FILES)
    assert served["/assets/vendor/uPlot.iife.min.js"].content == b""
    (tmp_path / "dashboard.js").unlink()
    with pytest.raises(FileNotFoundError):
        read_pages(tmp_path)
