"""`mirror.accounting.log_lines`: the promised fields, no secrets, one line of bounded ASCII."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.accounting.log_lines import MAX_LINE_BYTES, MAX_TARGET, LogLines
from mirror.accounting.records import Hit, HitForm, HitKind
from tests.unit.accounting.log_records import FETCH, REQUEST, fetch, plainly, request

DOCUMENT = Path(__file__).parents[3] / "docs" / "access-log.md"


def of_request(**fields: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(LogLines().request(request(**fields)))
    return parsed


def examples() -> list[dict[str, Any]]:
    blocks = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(), re.S)
    return [json.loads(block.replace("\n", "")) for block in blocks]


def test_the_lines_are_the_examples_of_the_documentation() -> None:
    lines = [LogLines().request(REQUEST), LogLines().fetch(FETCH)]
    assert [json.loads(line) for line in lines] == examples()
    assert [list(json.loads(line)) for line in lines] == [list(each) for each in examples()]


@pytest.mark.parametrize("number", [0, 1], ids=["request", "fetch"])
def test_the_documentation_lists_every_field(number: int) -> None:
    section = DOCUMENT.read_text().split("\n## ")[number + 1]
    named = set(re.findall(r"`([a-z_.]+)`", section))
    flat = set(examples()[number]) - {"http"}
    flat |= {f"http.{name}" for name in examples()[number].get("http", {})}
    assert flat - named == set()


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        pytest.param(0.0, "1970-01-01T00:00:00.000000Z", id="epoch"),
        pytest.param(1_795_339_800.1, "2026-11-22T09:30:00.100000Z", id="fraction"),
        pytest.param(1_795_339_799.9999999, "2026-11-22T09:30:00.000000Z", id="rounds-over"),
    ],
)
def test_times_are_utc_with_microseconds(at: float, shown: str) -> None:
    assert of_request(began_at=at)["date_time"] == shown


@pytest.mark.parametrize(
    ("fields", "url", "cut"),
    [
        pytest.param({"target": "/a?token=s3cret"}, "/a", 13, id="query"),
        pytest.param({"target": "/a?b?c@d"}, "/a", 6, id="query-with-more"),
        pytest.param({"target": "//user:s3cret@h/a"}, "//-@h/a", 0, id="user-in-a-path"),
        pytest.param(
            {"target": "/" + "a" * MAX_TARGET}, "/" + "a" * (MAX_TARGET - 1), 1, id="long"
        ),
    ],
)
def test_what_a_url_does_not_show_is_said(fields: dict[str, str], url: str, cut: int) -> None:
    line = of_request(**fields)
    assert line["url"] == f"http://mirror.example:8080{url}"
    assert line.get("url_cut_bytes", 0) == cut


@pytest.mark.parametrize(
    ("target", "url"),
    [
        pytest.param("http://u:s3cret@h/a", "http://-@h/a", id="absolute-form"),
        pytest.param("u:s3cret@h:443", "-@h:443", id="authority-form"),
        pytest.param("*", "*", id="asterisk-form"),
        pytest.param("", "", id="none"),
    ],
)
def test_other_forms_of_a_target_stand_as_they_are_but_for_user_names(
    target: str, url: str
) -> None:
    assert of_request(target=target)["url"] == url


def test_no_secret_of_any_field_is_in_a_line() -> None:
    secret = "s3cret"
    line = LogLines().request(request(target=f"/a?k={secret}", host=f"u:{secret}@h"))
    assert secret.encode() not in line
    failed = fetch(
        path=f"/a?X-Amz-Signature={secret}",
        error=f"https://h/a?X-Amz-Signature={secret}: reset",
    )
    assert secret.encode() not in LogLines().fetch(failed)
    assert json.loads(LogLines().fetch(failed))["url"] == "https://static.crates.io/a"


def test_a_request_without_host_has_a_url_still() -> None:
    assert of_request(host="")["url"].startswith("http://-/crates/")


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param('"\n{"type":"request"}\r\n', id="forged-line"),
        pytest.param("\x1b[2J\x7f\x00\x85", id="terminal"),
        pytest.param("\u202e\u2066evil\u2069", id="bidi"),
        pytest.param("\udc80\udcff", id="half-of-a-pair"),
    ],
)
def test_a_hostile_text_stays_inside_its_line(hostile: str) -> None:
    line = LogLines().request(request(user_agent=hostile, target=f"/{hostile}", range=hostile))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    assert json.loads(line)["http"]["useragent"] == hostile


texts = st.text(st.characters(), max_size=3000)


@given(texts, texts, texts, texts, texts, texts)
def test_any_text_makes_one_line_of_bounded_ascii(
    target: str, host: str, agent: str, asked: str, method: str, error: str
) -> None:
    lines = LogLines()
    for line in (
        lines.request(
            request(target=target, host=host, user_agent=agent, range=asked, method=method)
        ),
        lines.fetch(fetch(path=target, error=error)),
    ):
        assert len(line) <= MAX_LINE_BYTES
        assert line.index(b"\n") == len(line) - 1
        assert line.isascii()
        assert isinstance(json.loads(line), dict)


def test_the_longest_texts_make_a_line_of_bounded_length() -> None:
    worst = "\U0001f980" * 4000  # twelve characters of ASCII for one
    fields = ("target", "host", "user_agent", "range", "method", "cache_status")
    record = request(**dict.fromkeys(fields, worst))
    assert len(LogLines().request(record, weight=1 << 20)) <= MAX_LINE_BYTES
    assert len(LogLines().request(request(target="/" + worst))) <= MAX_LINE_BYTES


def test_a_crate_download_is_one_by_the_rules_of_crates_io() -> None:
    line = of_request()
    assert (line["version"], line["method"], line["status"]) == ("1", "GET", 200)
    assert line["http"]["useragent"].startswith("cargo/")
    assert line["url"].endswith("/crates/serde/serde-1.0.200.crate")
    assert "http" not in json.loads(LogLines().fetch(FETCH))  # it is never counted twice


_TARGETS = st.one_of(
    st.sampled_from(["/a", "/crates/serde/serde-1.0.0.crate", "*", "", "/a?b", "/a@b", "/" * 1025]),
    st.text(st.characters(max_codepoint=300), max_size=30).map("/{}".format),
)
_IMITATIONS = st.one_of(
    st.sampled_from(
        [
            "1970-01-01T00:00:00.000000Z",
            '"bytes":-3,',
            '"duration_ms":0.0,',
            "/~here~stands~the~target~",
            '"cache_status":"~here~stand~the~words~"',
            '\x7f"\\',
            "x" * 300,
            "\u1234" * 300,
        ]
    ),
    st.text(max_size=20),
)


@given(
    target=_TARGETS,
    host=_IMITATIONS,
    user_agent=_IMITATIONS,
    words=_IMITATIONS | st.just("hit; ttl=5"),
    times=st.lists(st.tuples(st.floats(0, 4e9), st.floats(0, 1e5)), max_size=4),
    content_bytes=st.integers(0, 1 << 40),
    weight=st.sampled_from([1, 10]),
)
def test_line_of_a_hit_is_the_line_of_its_record(
    target: str,
    host: str,
    user_agent: str,
    words: str,
    times: list[tuple[float, float]],
    content_bytes: int,
    weight: int,
) -> None:
    form = HitForm(request(host=host, user_agent=user_agent))
    hits: list[Hit] = []
    for number in range(2):  # the second one finds the frame
        kind = HitKind(form, target, content_bytes, number, words)
        hits += [(kind, *each) for each in times]
    expected = [
        LogLines().request(kind.record(began_at, duration_s), weight=weight)
        for kind, began_at, duration_s in hits
    ]
    made = LogLines(hit_weight=weight).hits(hits)
    for hit, line in zip(made, expected, strict=True):
        if not MAX_LINE_BYTES - 48 < len(line) <= MAX_LINE_BYTES:  # else shortened a little earlier
            assert plainly(hit) == plainly(line)


@given(
    began_at=st.integers(0, 1 << 31),
    offsets_us=st.lists(st.integers(-2_000_000, 2_000_000), min_size=1, max_size=5),
)
def test_hits_of_several_seconds_say_when_each_began(began_at: int, offsets_us: list[int]) -> None:
    kind = HitKind(HitForm(REQUEST), "/a", 1, 2, "hit")
    times = [began_at + 3 + each / 1e6 for each in offsets_us]
    lines = LogLines().hits([(kind, each, 0.0) for each in times])
    shown = [json.loads(line)["date_time"] for line in lines]
    assert shown == [of_request(began_at=each)["date_time"] for each in times]


def test_a_plain_hit_is_framed_and_what_is_kept_of_its_kind_is_used() -> None:
    form = HitForm(REQUEST)
    kind = HitKind(form, "/a", 1, 2, "hit")
    [first] = LogLines().hits([(kind, 1.0, 0.1)])
    assert len(form.frame) == 5
    assert first.endswith(kind.rest)
    kind.rest = b"kept"
    assert LogLines().hits([(kind, 1.0, 0.1)])[0].endswith(b'"duration_ms":100.000kept')


def test_longest_line_of_a_hit_is_bounded_however_long_it_took() -> None:
    kind = HitKind(HitForm(request(user_agent="\x7f" * 256, host="\x7f" * 256)), "/a", 1, 2, "hit")
    for words in range(1000):
        kind = HitKind(kind.form, "/a?" + "\x7f" * words, 1, 2, "\x7f" * (words % 257))
        [line] = LogLines().hits([(kind, 1.0, 1e9)])
        assert len(line) <= MAX_LINE_BYTES
        assert json.loads(line)["duration_ms"] == 1e12
