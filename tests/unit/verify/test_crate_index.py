"""`mirror.verify.crate_index`: the digest of each version, or the whole file is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.errors import VerificationError
from mirror.verify.crate_index import parse_index

A, B = "0a" * 32, "0b" * 32


def line(
    vers: object = "1.0.0", cksum: object = A, name: object = "Serde", **more: object
) -> bytes:
    members = {"name": name, "vers": vers, "deps": [], "cksum": cksum, "yanked": False, **more}
    return json.dumps(members).encode()


@pytest.mark.parametrize(
    ("body", "versions"),
    [
        pytest.param(line(), ["1.0.0"], id="one"),
        pytest.param(line() + b"\n", ["1.0.0"], id="final-newline"),
        pytest.param(
            line("1.0.0") + b"\n" + line("1.0.1", B, yanked=True) + b"\n",
            ["1.0.0", "1.0.1"],
            id="yanked-counts",
        ),
        pytest.param(
            line("1.0.0") + b"\n" + line("1.0.0+a") + b"\n" + line("1.0.0+b"),
            ["1.0.0", "1.0.0+a", "1.0.0+b"],
            id="builds-are-versions",
        ),
        pytest.param(
            line() + b"\n\n" + line("2.0.0") + b"\r\n\r\n", ["1.0.0", "2.0.0"], id="blank"
        ),
        pytest.param(line(name="SERDE", v=99, later={"a": [1]}), ["1.0.0"], id="unknown-members"),
    ],
)
def test_versions_are_read_in_their_order(body: bytes, versions: list[str]) -> None:
    assert list(parse_index(body, "serde")) == versions


def test_a_version_has_the_digest_of_its_line() -> None:
    found = parse_index(line("1.0.0", A) + b"\n" + line("1.0.1", B), "SerDe")
    assert found == {"1.0.0": bytes.fromhex(A), "1.0.1": bytes.fromhex(B)}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\n\n", id="blank"),
        pytest.param(b"   ", id="white"),
        pytest.param(b"<html>not found</html>", id="error-page"),
        pytest.param(b"[]", id="array"),
        pytest.param(b"{}", id="no-members"),
        pytest.param(line(name="serde_json"), id="another-crate"),
        pytest.param(line(name="\u212aelvin"), id="kelvin-sign"),
        pytest.param(line(vers=""), id="no-version"),
        pytest.param(line(vers=1), id="version-is-a-number"),
        pytest.param(line(vers=None), id="version-is-null"),
        pytest.param(line(cksum=A[:-1]), id="short-digest"),
        pytest.param(line(cksum="0A" * 32), id="upper-case-digest"),
        pytest.param(line(cksum=None), id="no-digest"),
        pytest.param(line() + b"\n" + line(cksum=B), id="a-version-twice"),
        pytest.param(line() + b"\n" + line(), id="a-version-twice-alike"),
        pytest.param(line() + b"\n" + line("2.0.0")[:-5], id="cut-line"),
        pytest.param(line() + line("2.0.0"), id="two-objects-in-a-line"),
        pytest.param(line() + b"\n\xff\xfe", id="not-utf-8"),
        pytest.param(b"\xef\xbb\xbf" + line(), id="byte-order-mark"),
        pytest.param(b'{"name":"serde","x":' + b"[" * 100_000, id="deeply-nested"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(VerificationError) as caught:
        parse_index(body, "kelvin" if b"elvin" in body else "serde")
    assert "index file of" in caught.value.source


def test_the_error_names_the_line() -> None:
    with pytest.raises(VerificationError, match="line 3"):
        parse_index(line("1.0.0") + b"\n\n" + line("1.0.0"), "serde")


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(VerificationError):
        parse_index(body, "serde")


def test_two_spellings_of_the_name_in_one_file_are_refused() -> None:
    body = line("1.0.0", name="Serde") + b"\n" + line("1.0.1", B, name="serde")
    with pytest.raises(VerificationError, match="line 2: expected name Serde, got 'serde'"):
        parse_index(body, "serde")
