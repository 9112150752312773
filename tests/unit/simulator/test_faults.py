from __future__ import annotations

import pytest

from mirror.simulator.faults import FaultBook, FaultKind, parse_rules
from mirror.simulator.published import Site
from mirror.simulator.requests import SimulatedRequest, parse_request


def request(path: str = "/dist/x", site: Site = Site.RELEASES) -> SimulatedRequest:
    return parse_request(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), site)


def take(book: FaultBook, kind: FaultKind, path: str = "/dist/x") -> bool:
    return book.claims_for(request(path)).take(kind) is not None


def test_rule_fires_as_often_as_its_count_says() -> None:
    book = FaultBook()
    book.add(parse_rules([{"kind": "status", "count": 2, "name": "busy"}]))
    assert [take(book, FaultKind.STATUS) for _ in range(3)] == [True, True, False]
    assert book.fired == {"busy": 2}


def test_rule_without_a_count_fires_always() -> None:
    book = FaultBook()
    book.add(parse_rules([{"kind": "drop"}]))
    assert all(take(book, FaultKind.DROP) for _ in range(10))


def test_rule_lets_the_first_matching_requests_through() -> None:
    book = FaultBook()
    book.add(parse_rules([{"kind": "status", "skip": 1, "path": "/dist/*"}]))
    assert not take(book, FaultKind.STATUS, "/rustup/x")
    assert not take(book, FaultKind.STATUS)
    assert take(book, FaultKind.STATUS)


def test_rule_applies_to_its_site_only() -> None:
    book = FaultBook()
    book.add(parse_rules([{"kind": "status", "site": "index"}]))
    assert book.claims_for(request(site=Site.RELEASES)).take(FaultKind.STATUS) is None
    assert book.claims_for(request(site=Site.INDEX)).take(FaultKind.STATUS) is not None


def test_rule_with_an_offset_fires_only_within_the_range_that_holds_it() -> None:
    book = FaultBook()
    book.add(parse_rules([{"kind": "cut", "at": 100, "count": 1, "name": "cut"}]))
    assert book.claims_for(request()).take_within(FaultKind.CUT, 101, 200) is None
    assert book.fired == {"cut": 0}
    assert book.claims_for(request()).take_within(FaultKind.CUT, 100, 200) is not None
    assert book.fired == {"cut": 1}


def test_count_holds_between_requests_that_overlap() -> None:
    book = FaultBook()
    book.add(parse_rules([{"kind": "cut", "count": 1}]))
    first, second = book.claims_for(request()), book.claims_for(request())
    assert first.take_within(FaultKind.CUT, 0, 1) is not None
    assert second.take_within(FaultKind.CUT, 0, 1) is None


def test_clear_removes_rules_and_keeps_what_fired() -> None:
    book = FaultBook()
    [fault_id] = book.add(parse_rules([{"kind": "status"}]))
    take(book, FaultKind.STATUS)
    book.clear()
    assert not take(book, FaultKind.STATUS)
    assert book.fired == {fault_id: 1}
    book.reset()
    assert book.fired == {}


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param({"kind": "explode"}, id="unknown-kind"),
        pytest.param({}, id="no-kind"),
        pytest.param({"kind": "cut", "offset": 3}, id="unknown-member"),
        pytest.param({"kind": "cut", "how": "gently"}, id="unknown-how"),
        pytest.param({"kind": "cut", "at": -1}, id="negative"),
        pytest.param({"kind": "rate"}, id="rate-without-rate"),
    ],
)
def test_mistaken_script_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"fault|kind|how|negative|rate|Fault"):
        parse_rules([rule])
