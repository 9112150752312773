"""The control listener answers only to its own names: DNS rebinding is refused."""

from __future__ import annotations

import pytest

from mirror.control.hosts import AllowedHosts

HOSTS = AllowedHosts("10.1.2.3", ("mirror.internal", "[fd00::1]"))


@pytest.mark.parametrize(
    "field",
    ["localhost", "LOCALHOST:9090", "127.0.0.1:9090", "[::1]:9090", "10.1.2.3", "Mirror.Internal:1",
     "[fd00::1]:9090"],
)  # fmt: skip
def test_own_names_are_answered_with_any_port(field: str) -> None:
    assert field in HOSTS


@pytest.mark.parametrize(
    "field",
    ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:9090", "localhost:x",
     "localhost:9090:1", "user@localhost", "localhost, evil", "127.0.0.2", "[::2]", "localhost\n"],
)  # fmt: skip
def test_other_names_are_refused(field: str) -> None:
    assert field not in HOSTS
