"""The TLS context: what it speaks, what it refuses to be built from, and how it says so."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from mirror.cli.dev_certificates import Made
from mirror.config import Serve, ServeTls
from mirror.errors import ConfigError
from mirror.supervisor.tls_context import identity_of, load_credentials
from tests.tls_files import Pair, client_context, make_server, sign


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_server(tmp_path_factory.mktemp("server"))


def serve_with(pair: Made | Pair, **tls: str) -> Serve:
    files = {"certificate": str(pair.certificate), "private_key": str(pair.private_key)}
    return Serve(tls=msgspec.structs.replace(ServeTls(), **{**files, **tls}))


def refusal(serve: Serve) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_credentials(serve)
    return caught.value


def negotiate(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Shake hands in memory; return the client's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(6):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return sides[0]


def test_no_certificate_is_no_tls() -> None:
    assert load_credentials(Serve()) is None


def test_what_is_shown_is_told(made: Made) -> None:
    loaded = load_credentials(serve_with(made))
    assert loaded is not None
    assert loaded.shown.subject == "CN=localhost,O=rust-mirror dev-cert"
    assert loaded.shown.names == ("localhost", "127.0.0.1")
    assert loaded.shown.not_after_at == made.not_after.timestamp()
    assert loaded.identity == identity_of(loaded.settings)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_trusts_the_ca_gets_a_forward_secret_aead_cipher(
    made: Made, version: ssl.TLSVersion
) -> None:
    loaded = load_credentials(serve_with(made))
    assert loaded is not None
    client = client_context(made.authority)
    client.maximum_version = version
    side = negotiate(loaded.context, client)
    cipher = side.cipher()
    assert cipher is not None
    assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]
    assert side.compression() is None


def test_no_cipher_of_the_context_lacks_forward_secrecy_or_authentication(made: Made) -> None:
    loaded = load_credentials(serve_with(made))
    assert loaded is not None
    names = [str(cipher["name"]) for cipher in loaded.context.get_ciphers()]
    assert names
    assert [name for name in names if not name.startswith(("TLS_", "ECDHE-"))] == []
    assert [name for name in names if "GCM" not in name and "CHACHA20" not in name] == []


def test_renegotiation_and_compression_are_off(made: Made) -> None:
    loaded = load_credentials(serve_with(made))
    assert loaded is not None
    assert ssl.OP_NO_RENEGOTIATION in loaded.context.options
    assert ssl.OP_NO_COMPRESSION in loaded.context.options


@pytest.mark.parametrize(
    ("least", "client_most"),
    [
        pytest.param("1.2", ssl.TLSVersion.TLSv1_1, id="tls-1.1"),
        pytest.param("1.3", ssl.TLSVersion.TLSv1_2, id="tls-1.2-where-1.3-is-the-least"),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_older_versions_are_refused(made: Made, least: str, client_most: ssl.TLSVersion) -> None:
    loaded = load_credentials(serve_with(made, min_version=least))
    assert loaded is not None
    client = client_context(made.authority)
    client.set_ciphers("DEFAULT:@SECLEVEL=0")  # else the client itself would not try
    client.minimum_version, client.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, client_most
    with pytest.raises(ssl.SSLError, match=r"UNSUPPORTED_PROTOCOL|NO_SHARED_CIPHER|version"):
        negotiate(loaded.context, client)


@pytest.mark.parametrize(("has_http2", "agreed"), [(True, "h2"), (False, "http/1.1")])
def test_alpn_offers_http2_only_where_it_is_enabled(
    made: Made, has_http2: bool, agreed: str
) -> None:
    serve = serve_with(made)
    http2 = msgspec.structs.replace(serve.http2, enabled=has_http2)
    loaded = load_credentials(msgspec.structs.replace(serve, http2=http2))
    assert loaded is not None
    client = client_context(made.authority)
    client.set_alpn_protocols(["h2", "http/1.1"])
    assert negotiate(loaded.context, client).selected_alpn_protocol() == agreed


def test_an_expired_certificate_is_loaded_and_told(made: Made, tmp_path: Path) -> None:
    """Refusing it would take the mirror down; the watch raises the event."""
    pair = sign(tmp_path, "old", made, ends_in=timedelta(days=-1))
    loaded = load_credentials(serve_with(pair))
    assert loaded is not None
    assert loaded.shown.not_after_at < loaded.shown.not_before_at + 61 * 86400


def encrypted(path: Path, made: Made) -> Path:
    key = serialization.load_pem_private_key(made.private_key.read_bytes(), None)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return path


def text_file(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


Broken = Callable[[Made, Path], tuple[dict[str, str], str, str]]

BROKEN: dict[str, Broken] = {
    "certificate-absent": lambda made, path: (
        {"certificate": str(path / "none.pem")},
        "serve.tls.certificate",
        "No such file",
    ),
    "key-absent": lambda made, path: (
        {"private_key": str(path / "none.pem")},
        "serve.tls.private_key",
        "can read",
    ),
    "certificate-is-a-directory": lambda made, path: (
        {"certificate": str(path)},
        "serve.tls.certificate",
        "directory",
    ),
    "certificate-is-a-key": lambda made, path: (
        {"certificate": str(made.private_key)},
        "serve.tls.certificate",
        "BEGIN CERTIFICATE",
    ),
    "key-is-a-certificate": lambda made, path: (
        {"private_key": str(made.certificate)},
        "serve.tls.private_key",
        "BEGIN PRIVATE KEY",
    ),
    "key-is-encrypted": lambda made, path: (
        {"private_key": str(encrypted(path / "key.pem", made))},
        "serve.tls.private_key",
        "openssl pkey",
    ),
    "key-of-another": lambda made, path: (
        {"private_key": str(made.authority_key)},
        "serve.tls.private_key",
        "the key of the first certificate",
    ),
    "certificate-cut-short": lambda made, path: (
        {"certificate": text_file(path / "c.pem", made.certificate.read_text()[:200])},
        "serve.tls.certificate",
        "OpenSSL accepts",
    ),
    "client-ca-absent": lambda made, path: (
        {"client_ca": str(path / "none.pem"), "client_certificates": "required"},
        "serve.tls.client_ca",
        "No such file",
    ),
    "client-ca-empty": lambda made, path: (
        {"client_ca": text_file(path / "ca.pem", "none"), "client_certificates": "required"},
        "serve.tls.client_ca",
        "PEM",
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_unusable_file_is_named_with_what_to_do(broken: Broken, made: Made, tmp_path: Path) -> None:
    changes, key, told = broken(made, tmp_path)
    error = refusal(serve_with(made, **changes))
    assert error.key == key
    assert told in error.allowed
    assert "PRIVATE KEY-----\n" not in str(error)


def test_certificate_for_clients_only_is_refused(made: Made, tmp_path: Path) -> None:
    pair = sign(tmp_path, "client", made, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    error = refusal(serve_with(pair))
    assert error.key == "serve.tls.certificate"
    assert "certificate for servers" in error.allowed


@pytest.mark.parametrize("word", ["optional", "required"])
def test_client_certificates_are_asked_for(made: Made, word: str) -> None:
    loaded = load_credentials(
        serve_with(made, client_ca=str(made.authority), client_certificates=word)
    )
    assert loaded is not None
    assert loaded.context.verify_mode.name == f"CERT_{word.upper()}"


def test_replacing_a_file_changes_its_identity(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "certificate.pem"
    path.write_bytes(made.certificate.read_bytes())
    tls = ServeTls(certificate=str(path))
    before = identity_of(tls)
    other = tmp_path / "other"
    other.write_bytes(made.certificate.read_bytes())
    other.replace(path)
    assert identity_of(tls) != before
    path.unlink()
    assert identity_of(tls) == (None,)
