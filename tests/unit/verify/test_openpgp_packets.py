"""`mirror.verify.openpgp_packets`: where each packet ends, in both formats."""

from __future__ import annotations

import pytest

from mirror.errors import VerificationError
from mirror.verify.openpgp_packets import Packet, Subpacket, read_packets, read_subpackets

# RFC 4880, section 4.2.3, shows 100, 1723 and 100000 as lengths of the later format.
_LONG = bytes(100_000)


@pytest.mark.parametrize(
    ("head", "length"),
    [
        pytest.param(b"\xc2\x00", 0, id="empty"),
        pytest.param(b"\xc2\x64", 100, id="one-octet"),
        pytest.param(b"\xc2\xbf", 191, id="one-octet-longest"),
        pytest.param(b"\xc2\xc0\x00", 192, id="two-octets-shortest"),
        pytest.param(b"\xc2\xc5\xfb", 1723, id="two-octets"),
        pytest.param(b"\xc2\xdf\xff", 8383, id="two-octets-longest"),
        pytest.param(b"\xc2\xff\x00\x01\x86\xa0", 100_000, id="five-octets"),
        pytest.param(b"\x88\xff", 255, id="old-one-octet"),
        pytest.param(b"\x89\x01\x00", 256, id="old-two-octets"),
        pytest.param(b"\x8a\x00\x01\x86\xa0", 100_000, id="old-four-octets"),
    ],
)
def test_a_definite_length_is_read(head: bytes, length: int) -> None:
    assert list(read_packets(head + _LONG[:length], "x")) == [Packet(tag=2, body=_LONG[:length])]


@pytest.mark.parametrize(
    "head",
    [
        *(pytest.param(bytes([0xC2, first]), id=f"partial-{first}") for first in range(224, 255)),
        pytest.param(b"\x8b", id="indeterminate"),
        pytest.param(b"\x42\x01", id="no-packet"),
    ],
)
def test_a_length_without_a_definite_end_is_refused(head: bytes) -> None:
    with pytest.raises(VerificationError, match=r"definite length|expected a packet"):
        list(read_packets(head + _LONG, "x"))


@pytest.mark.parametrize("first", range(224, 255))
def test_a_subpacket_length_is_never_partial(first: int) -> None:
    """What would be a partial length of a packet is two octets of a subpacket's."""
    length = ((first - 192) << 8) + 192
    area = bytes([first, 0, 0x80 | 20]) + _LONG[: length - 1]
    assert list(read_subpackets(area, "x")) == [
        Subpacket(kind=20, is_critical=True, body=_LONG[: length - 1])
    ]


def test_packets_show_their_tag_and_size() -> None:
    assert repr(list(read_packets(b"\xc2\x01x\xcd\x02yz", "x"))) == (
        "[<Packet 2 1 bytes>, <Packet 13 2 bytes>]"
    )
