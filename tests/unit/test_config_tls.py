"""The keys of TLS belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.config_sources import (
    load,
)
from tests.unit.config_texts import refusal, written

PAIR = "certificate = 'c.pem'\nprivate_key = 'k.pem'\n"
TLS_LISTEN = "[serve]\ntls_listen = ['127.0.0.1:8443']\n"


@pytest.mark.parametrize(
    ("text", "key", "told"),
    [
        pytest.param(TLS_LISTEN, "serve.tls.certificate", "dev-cert", id="no-files"),
        pytest.param(
            TLS_LISTEN + "[serve.tls]\ncertificate = 'c.pem'",
            "serve.tls.private_key",
            "PEM",
            id="no-key",
        ),
        pytest.param(
            "[serve.tls]\nprivate_key = 'k.pem'",
            "serve.tls.certificate",
            "both",
            id="no-certificate",
        ),
        pytest.param(
            TLS_LISTEN.replace("8443", "8080") + "[serve.tls]\n" + PAIR,
            "serve.tls_listen",
            "each address once",
            id="address-of-plaintext",
        ),
        pytest.param(
            "[serve.tls]\nclient_certificates = 'required'\n" + PAIR,
            "serve.tls.client_ca",
            "CAs",
            id="no-client-ca",
        ),
        pytest.param(
            "[serve.tls]\nclient_ca = 'ca.pem'\n" + PAIR,
            "serve.tls.client_certificates",
            '"required"',
            id="ca-that-nobody-is-checked-against",
        ),
        pytest.param(
            "[serve]\nlisten = ['127.0.0.1:8080', '[::]:8080']\n"
            "[serve.tls]\nclient_certificates = 'required'\nclient_ca = 'ca.pem'\n" + PAIR,
            "serve.plaintext",
            '"refuse"',
            id="plaintext-passes-by-the-client-ca",
        ),
        pytest.param(
            "[serve.tls]\nprivate_key = 'k.pem'\ncertificate = \"c\\u0000.pem\"",
            "serve.tls.certificate",
            "path of a file",
            id="no-path",
        ),
        pytest.param(
            "[serve.tls]\nmin_version = '1.1'\n",
            "serve.tls.min_version",
            '"1.3"',
            id="tls-1.1",
        ),
        pytest.param(
            "[serve]\nplaintext = 'off'",
            "serve.plaintext",
            '"redirect"',
            id="plaintext-word",
        ),
        pytest.param(
            "[serve]\nplaintext = 'redirect'",
            "serve.plaintext",
            "serve.tls_listen",
            id="redirect-to-nowhere",
        ),
        pytest.param(
            "[serve]\nplaintext = 'redirect'\npublic_url = 'http://a.example'",
            "serve.public_url",
            "https://",
            id="redirect-to-plaintext",
        ),
    ],
)
def test_keys_of_tls_belong_together(tmp_path: Path, text: str, key: str, told: str) -> None:
    error = refusal(tmp_path, text)
    assert error.key == key
    assert told in error.allowed


def test_tls_may_be_the_only_listener(tmp_path: Path) -> None:
    text = "[serve]\nlisten = []\ntls_listen = ['[::]:8443']\n[serve.tls]\n" + PAIR
    serve = load(written(tmp_path, text), {}, {}).serve
    assert (serve.listen, serve.tls_listen) == ((), ("[::]:8443",))
    assert serve.tls.certificate == str(Path.cwd() / "c.pem")
    assert (serve.tls.client_certificates, serve.tls.min_version) == ("off", "1.2")
