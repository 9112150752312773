"""`rust-mirror dev-cert`: what it writes, what it never overwrites, what it tells."""

from __future__ import annotations

import ipaddress
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from mirror.cli.dev_certificates import Made, make
from mirror.cli.main import run
from mirror.config_sources import load
from mirror.errors import ConfigError
from mirror.supervisor.tls_context import load_credentials

FILES = ("ca.pem", "ca-key.pem", "certificate.pem", "private-key.pem")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path, ["mirror.example", "10.0.0.7", "::1"], 90, replaces=False)


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_authority_signs_leaves_only(made: Made) -> None:
    extensions = read(made.authority).extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert (usage.critical, usage.value.key_cert_sign) == (True, True)
    assert not usage.value.digital_signature


def test_leaf_is_for_servers_of_these_names_only(made: Made) -> None:
    leaf = read(made.certificate)
    extensions = leaf.extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mirror.example"]
    addresses = [ipaddress.ip_address("10.0.0.7"), ipaddress.ip_address("::1")]
    assert names.get_values_for_type(x509.IPAddress) == addresses
    leaf.verify_directly_issued_by(read(made.authority))


@pytest.mark.parametrize("days", [1, 90, 825])
def test_validity_is_the_days_asked_for_and_begins_before_now(days: int, tmp_path: Path) -> None:
    leaf = read(make(tmp_path, ["localhost"], days, replaces=False).certificate)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=days)
    assert leaf.not_valid_before_utc < datetime.now(UTC) < leaf.not_valid_after_utc


def test_keys_are_their_owners_alone(made: Made) -> None:
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (made.authority_key, made.private_key)]
    assert modes == [0o600, 0o600]


def test_certificate_that_is_there_is_not_replaced_unless_told(made: Made) -> None:
    folder = made.certificate.parent
    before = {name: (folder / name).read_bytes() for name in FILES}
    with pytest.raises(ConfigError, match="--force"):
        make(folder, ["localhost"], 90, replaces=False)
    assert {name: (folder / name).read_bytes() for name in FILES} == before


def test_force_replaces_the_leaf_and_keeps_the_authority(made: Made) -> None:
    folder = made.certificate.parent
    before = {name: (folder / name).read_bytes() for name in FILES}
    again = make(folder, ["localhost"], 90, replaces=True)
    changed = {name for name in FILES if (folder / name).read_bytes() != before[name]}
    assert changed == {"certificate.pem", "private-key.pem"}
    assert not again.is_new_authority
    read(made.certificate).verify_directly_issued_by(read(made.authority))
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_authority_that_is_not_one_is_never_overwritten(made: Made) -> None:
    made.authority_key.write_bytes(made.private_key.read_bytes())
    with pytest.raises(ConfigError, match="are an authority and its key"):
        make(made.authority.parent, ["localhost"], 90, replaces=True)


def test_leaf_cannot_outlive_its_authority(made: Made) -> None:
    with pytest.raises(ConfigError, match="few enough to end before") as caught:
        make(made.authority.parent, ["localhost"], 4000, replaces=True)
    assert caught.value.key == "--days"


def test_command_prints_a_configuration_that_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "made"
    assert run(["dev-cert", "--out", str(folder), "--host", "Mirror.Example"]) == 0
    printed = capsys.readouterr().out
    lines = [line.strip() for line in printed.splitlines()]
    begin, end = lines.index("[serve]"), lines.index("Its clients, with a copy of ca.pem:")
    file = tmp_path / "mirror.toml"
    file.write_text("\n".join(lines[begin:end]))
    loaded = load_credentials(load(file, {}, {}).serve)
    assert loaded is not None
    assert loaded.shown.names == ("mirror.example",)
    assert f"SSL_CERT_FILE={folder / 'ca.pem'} " in printed
    assert f"CARGO_HTTP_CAINFO={folder / 'ca.pem'} " in printed
    assert "RUSTUP_DIST_SERVER=https://mirror.example:8443" in printed


def test_without_names_it_is_for_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dev-cert", "--out", str(tmp_path)]) == 0
    names = read(tmp_path / "certificate.pem").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert "localhost" in names.value.get_values_for_type(x509.DNSName)
    assert len(names.value.get_values_for_type(x509.IPAddress)) == 2
    assert "Made" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--host", "https://a.example"], 2, "without scheme"),
        (["--host", "a.example:8443"], 2, "without scheme or port"),
        (["--host", "*.example"], 2, "DNS name"),
        (["--days", "826"], 2, "825"),
        (["--days", "0"], 2, "825"),
        (["--out", "/dev/null/x"], 1, "can write"),
    ],
)
def test_wrong_usage_is_told_and_nothing_written(
    arguments: list[str],
    code: int,
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["dev-cert", "--out", str(tmp_path), *arguments]) == code
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
