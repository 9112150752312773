"""Listen addresses are literals with a port."""

from __future__ import annotations

import pytest

from mirror.addresses import parse_listen


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        pytest.param("127.0.0.1:8080", "127.0.0.1", 8080, id="ipv4"),
        pytest.param("[::]:8080", "::", 8080, id="ipv6-any"),
        pytest.param("[::1]:0", "::1", 0, id="kernel-chooses"),
    ],
)
def test_address_is_read_and_written(text: str, host: str, port: int) -> None:
    address = parse_listen(text)
    assert (address.host, address.port, str(address)) == (host, port, text)


@pytest.mark.parametrize(
    "text",
    ["", "8080", ":8080", "localhost:8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
     "127.0.0.1:-1", "::1:8080", "[127.0.0.1]:8080", "[::1]", "[::1:80", "1.2.3:80", "127.0.0.1:٣"],
)  # fmt: skip
def test_other_text_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="address and port"):
        parse_listen(text)
