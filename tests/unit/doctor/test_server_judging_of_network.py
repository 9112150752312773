"""What the doctor says of clocks, certificates, addresses and upstreams."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mirror.doctor.certificates import Certificate, Chain, covers, judge_chain
from mirror.doctor.clocks import judge_clock, offset_s
from mirror.doctor.entrances import Doors, Visit, judge_doors, judge_listening, judge_public_url
from mirror.doctor.findings import Verdict
from mirror.doctor.upstreams import Asked, Stage, judge_contact, judge_upstreams
from tests.unit.doctor.verdicts import DAY_S, GOOD, NOTE, RISK, WRONG, verdicts

NOW = 1_800_000_000.0


DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
DATE_AT = 1767225600.0


@pytest.mark.parametrize(
    ("date", "age", "asked", "answered", "expected"),
    [
        pytest.param(DATE, "", 0.0, 0.5, 0.0, id="equal"),
        pytest.param(DATE, "", 10.0, 10.5, 9.0, id="ahead"),
        pytest.param(DATE, "", -10.5, -10.0, -10.0, id="behind"),
        pytest.param(DATE, "3600", 3600.0, 3600.1, 0.0, id="cached-for-an-hour"),
        pytest.param("yesterday", "", 0.0, 0.0, None, id="no-date"),
        pytest.param(DATE, "old", 0.0, 0.0, None, id="no-age"),
    ],
)
def test_offset(date: str, age: str, asked: float, answered: float, expected: float | None) -> None:
    assert offset_s(date, age, DATE_AT + asked, DATE_AT + answered) == expected


@pytest.mark.parametrize(
    ("now", "synchronised", "offsets", "expected"),
    [
        pytest.param(NOW, True, {"u": 1.0}, [GOOD], id="well"),
        pytest.param(NOW, True, {}, [GOOD], id="synchronised-offline"),
        pytest.param(NOW, False, {"u": 1.0}, [GOOD, NOTE], id="right-by-luck"),
        pytest.param(NOW, False, {}, [RISK], id="nobody-knows"),
        pytest.param(NOW, None, {}, [NOTE], id="kernel-not-asked"),
        pytest.param(NOW, True, {"u": 6.0}, [RISK], id="ahead"),
        pytest.param(NOW, True, {"u": -4000.0}, [WRONG], id="far-behind"),
        pytest.param(NOW, True, {"a": 0.0, "b": 0.0, "c": 9999.0}, [GOOD], id="one-odd-server"),
        pytest.param(100.0, True, {}, [WRONG, GOOD], id="1970"),
    ],
)
def test_clock(
    now: float, synchronised: bool | None, offsets: dict[str, float], expected: list[Verdict]
) -> None:
    assert verdicts(judge_clock(now, synchronised, offsets)) == expected


LEAF = Certificate(
    subject="CN=mirror",
    issuer="CN=ca",
    names=("mirror.example", "*.lab.example", "192.0.2.1"),
    not_before_at=NOW - DAY_S,
    not_after_at=NOW + 60 * DAY_S,
    is_issued_by_next=True,
)
ISSUER = replace(LEAF, subject="CN=ca", issuer="CN=root", names=(), is_issued_by_next=False)
CHAIN = Chain(
    path="/c.pem",
    certificates=(LEAF, ISSUER),
    fits_key=True,
    public_host="mirror.example",
    is_at_door=True,
)


def chain_with(leaf: Certificate) -> Chain:
    return replace(CHAIN, certificates=(leaf, ISSUER))


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        pytest.param(CHAIN, [GOOD], id="well"),
        pytest.param(
            chain_with(replace(LEAF, not_after_at=NOW + 29 * DAY_S)), [RISK], id="29-days"
        ),
        pytest.param(chain_with(replace(LEAF, not_after_at=NOW + 6 * DAY_S)), [WRONG], id="6-days"),
        pytest.param(chain_with(replace(LEAF, not_after_at=NOW - 1)), [WRONG], id="expired"),
        pytest.param(chain_with(replace(LEAF, not_before_at=NOW + 99)), [WRONG], id="not-yet"),
        pytest.param(chain_with(replace(LEAF, is_issued_by_next=False)), [GOOD, RISK], id="order"),
        pytest.param(chain_with(replace(LEAF, names=())), [GOOD, WRONG], id="nameless"),
        pytest.param(replace(CHAIN, fits_key=False), [GOOD, WRONG], id="other-key"),
        pytest.param(replace(CHAIN, certificates=(LEAF,)), [GOOD, NOTE], id="leaf-alone"),
        pytest.param(replace(CHAIN, certificates=()), [WRONG], id="empty"),
        pytest.param(replace(CHAIN, public_host="other.example"), [GOOD, WRONG], id="other-name"),
        pytest.param(
            replace(CHAIN, public_host="other.example", is_at_door=False), [GOOD, NOTE], id="proxy"
        ),
    ],
)
def test_certificates(chain: Chain, expected: list[Verdict]) -> None:
    assert verdicts(judge_chain(chain, NOW)) == expected


@pytest.mark.parametrize(
    ("host", "is_covered"),
    [
        ("mirror.example", True),
        ("MIRROR.example.", True),
        ("a.lab.example", True),
        ("a.b.lab.example", False),
        ("lab.example", False),
        ("192.0.2.1", True),
    ],
)
def test_names(host: str, is_covered: bool) -> None:
    assert covers(LEAF.names, host) is is_covered


DOORS = Doors(
    public_url="https://mirror.example",
    listen=("0.0.0.0:8080",),
    tls_listen=("0.0.0.0:8443",),
    trusted_proxies=(),
    proxy_protocol=False,
    is_running=True,
)
HOME = Visit(
    url="https://mirror.example/livez",
    status=200,
    is_live=True,
    own_status=508,
    peer="192.0.2.1:443",
)


@pytest.mark.parametrize(
    ("visit", "expected"),
    [
        pytest.param(HOME, [GOOD], id="home"),
        pytest.param(replace(HOME, hops=("http://mirror.example/livez",)), [RISK], id="redirect"),
        pytest.param(replace(HOME, own_status=200), [NOTE], id="another-mirror"),
        pytest.param(replace(HOME, own_status=0), [NOTE], id="name-not-readable"),
        pytest.param(replace(HOME, own_status=200, is_live=False), [WRONG], id="another-program"),
        pytest.param(Visit(url="x", trouble="Connection refused"), [WRONG], id="refused"),
        pytest.param(Visit(url="x", is_circle=True), [WRONG], id="circle"),
        pytest.param(
            replace(HOME, is_untrusted=True, untrusted="unable to get local issuer certificate"),
            [GOOD, NOTE],
            id="private-ca",
        ),
        pytest.param(
            replace(HOME, is_untrusted=True, untrusted="certificate has expired"),
            [GOOD, WRONG],
            id="expired",
        ),
    ],
)
def test_public_url(visit: Visit, expected: list[Verdict]) -> None:
    assert verdicts(judge_public_url(DOORS, visit)) == expected


def test_public_url_without_a_mirror_or_a_visit() -> None:
    stopped = replace(DOORS, is_running=False)
    assert verdicts(judge_public_url(stopped, Visit(url="x", trouble="refused"))) == [NOTE]
    assert verdicts(judge_public_url(DOORS, None)) == []
    assert verdicts(judge_public_url(replace(DOORS, public_url=""), None)) == [GOOD]
    behind = replace(DOORS, public_url="", trusted_proxies=("10.0.0.1/32",))
    assert verdicts(judge_public_url(behind, None)) == [NOTE]


@pytest.mark.parametrize(
    ("visit", "is_running", "expected"),
    [
        (HOME, True, GOOD),
        (Visit(url="x"), True, GOOD),
        (Visit(url="x", trouble="refused"), True, WRONG),
        (replace(HOME, own_status=200), True, WRONG),
        (HOME, False, WRONG),
        (Visit(url="x", trouble="refused"), False, NOTE),
    ],
)
def test_listening(visit: Visit, is_running: bool, expected: Verdict) -> None:
    assert verdicts(judge_listening("x", "serve.listen", visit, is_running)) == [expected]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, [], id="well"),
        pytest.param({"trusted_proxies": ("0.0.0.0/0",)}, [WRONG], id="everybody"),
        pytest.param({"trusted_proxies": ("::/0",)}, [WRONG], id="everybody-6"),
        pytest.param({"trusted_proxies": ("10.0.0.0/7",)}, [RISK], id="wide"),
        pytest.param({"trusted_proxies": ("10.0.0.0/8", "::1")}, [], id="private"),
        pytest.param({"proxy_protocol": True}, [RISK], id="proxy-protocol-of-nobody"),
        pytest.param(
            {"listen": ("127.0.0.1:1",), "tls_listen": (), "public_url": ""}, [NOTE], id="loopback"
        ),
        pytest.param({"listen": ("127.0.0.1:1",), "tls_listen": ()}, [RISK], id="silent-proxy"),
        pytest.param(
            {"listen": ("127.0.0.1:1",), "tls_listen": (), "public_url": "http://localhost:1"},
            [],
            id="own-use",
        ),
    ],
)
def test_doors(changes: dict[str, object], expected: list[Verdict]) -> None:
    assert verdicts(judge_doors(replace(DOORS, **changes))) == expected  # type: ignore[arg-type]  # by name


WELL = Asked(
    pool="index", url="https://i.example", path="/config.json", stage=Stage.ANSWERED, seconds=0.1,
    status=200,
)  # fmt: skip
AWAY = replace(WELL, url="https://j.example", stage=Stage.ASKING, status=0, trouble="refused")


@pytest.mark.parametrize(
    ("asked", "loops", "expected"),
    [
        pytest.param([WELL], {}, [GOOD], id="well"),
        pytest.param([AWAY], {}, [WRONG], id="away"),
        pytest.param([AWAY, WELL], {}, [RISK, GOOD], id="one-of-two"),
        pytest.param([replace(AWAY, stage=Stage.NAME)], {}, [WRONG], id="no-name"),
        pytest.param([replace(WELL, status=404)], {}, [NOTE], id="not-there"),
        pytest.param([replace(WELL, seconds=4.0)], {}, [NOTE], id="slow"),
        pytest.param([AWAY], {AWAY.url: "back"}, [WRONG], id="loop"),
    ],
)
def test_upstreams(asked: list[Asked], loops: dict[str, str], expected: list[Verdict]) -> None:
    assert verdicts(judge_upstreams(asked, loops)) == expected


def test_a_refused_certificate_has_a_remedy_of_its_own() -> None:
    [found] = judge_upstreams([replace(AWAY, trouble="its certificate is not trusted")], {})
    assert "ca_file" in found.remedy
    assert verdicts(judge_contact("")) == [NOTE]
    assert verdicts(judge_contact("a@b.example")) == []
