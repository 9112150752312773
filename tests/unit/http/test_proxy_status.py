"""Proxy-Status: the RFC's words, in the RFC's syntax, and nothing of an upstream's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.errors import ErrorType
from mirror.http.proxy_status import proxy_status
from tests.structured_fields import Parameters, Token, parse_single

# RFC 9209 section 2.3, all of its types.
_REGISTERED = """
    dns_timeout dns_error destination_not_found destination_unavailable destination_ip_prohibited
    destination_ip_unroutable connection_refused connection_terminated connection_timeout
    connection_read_timeout connection_write_timeout connection_limit_reached tls_protocol_error
    tls_certificate_error tls_alert_received http_request_error http_request_denied
    http_response_incomplete http_response_header_section_size http_response_header_size
    http_response_body_size http_response_trailer_section_size http_response_trailer_size
    http_response_transfer_coding http_response_content_coding http_response_timeout
    http_upgrade_failed http_protocol_error proxy_internal_response proxy_internal_error
    proxy_configuration_error proxy_loop_detected
"""


def test_every_error_type_is_a_registered_one() -> None:
    assert {error_type.value for error_type in ErrorType} <= set(_REGISTERED.split())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(proxy_status("rust-mirror"), {}, id="nothing-said"),
        pytest.param(
            proxy_status("rust-mirror", ErrorType.CONNECTION_REFUSED),
            {"error": Token("connection_refused")},
            id="error",
        ),
        pytest.param(
            proxy_status("rust-mirror", received_status=500, details="unavailable"),
            {"received-status": 500, "details": "unavailable"},
            id="status-and-details",
        ),
    ],
)
def test_value_is_one_member(value: bytes, expected: Parameters) -> None:
    assert parse_single(value.decode()) == expected


def test_details_are_a_string_also_where_they_look_like_a_token() -> None:
    value = proxy_status("rust-mirror", details="unavailable")
    assert value == b'rust-mirror; details="unavailable"'


@given(details=st.text(min_size=1, max_size=50), error_type=st.sampled_from(ErrorType))
def test_no_text_breaks_the_field(details: str, error_type: ErrorType) -> None:
    said = parse_single(proxy_status("rust-mirror", error_type, details=details).decode("ascii"))
    assert said["error"] == Token(error_type.value)
    assert len(str(said["details"])) == len(details)
