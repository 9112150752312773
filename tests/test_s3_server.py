"""The S3 server of the tests: strict, local, ended by its id, and never silently absent.

Runs in: pytest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import STRANGER, S3Server, listening_addresses, sha256_field, start_s3_server

pytestmark = pytest.mark.full

ROOT = Path(__file__).parent.parent

_SCENARIO = """
from tests.s3_server import start_s3_server

def test_reads_a_bucket():
    start_s3_server()
"""


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with start_s3_server() as running:
        running.create_bucket("plain")
        running.create_bucket("versioned", versioned=True)
        yield running


def test_a_wrong_checksum_is_refused(s3: S3Server) -> None:
    wrong = {"x-amz-checksum-sha256": sha256_field(b"other bytes")}
    refused = s3.request("PUT", "/plain/wrong", fields=wrong, content=b"bytes")
    assert (refused.status, refused.code) == (400, "BadDigest")
    assert s3.get("plain", "wrong").code == "NoSuchKey"


def test_it_listens_on_loopback_only(s3: S3Server) -> None:
    assert listening_addresses(s3.pid) == [("0100007F", s3.port)]


def test_objects_keep_their_names_versions_and_checksums(s3: S3Server) -> None:
    key = "crates/a/a-1.0.0+b.crate"
    first, second = s3.put("versioned", key, b"one"), s3.put("versioned", key, b"two")
    assert first != second
    assert s3.get("versioned", key).content == b"two"
    assert s3.get("versioned", key, version=first).content == b"one"
    assert s3.head("versioned", key).fields["x-amz-checksum-sha256"] == sha256_field(b"two")
    s3.delete("versioned", key)
    assert s3.get("versioned", key).code == "NoSuchKey"


def test_a_stranger_is_denied_what_is_there_and_what_is_not(s3: S3Server) -> None:
    s3.put("plain", "there", b"x")
    for key in ("there", "not-there"):
        assert s3.get("plain", key, account=STRANGER).code == "AccessDenied"


def test_stopped_and_started_it_has_its_port_and_its_objects(s3: S3Server) -> None:
    s3.put("plain", "kept", b"x")
    port, pid = s3.port, s3.pid
    s3.stop()
    s3.stop()
    with pytest.raises(OSError, match="refused"):
        s3.get("plain", "kept")
    s3.start()
    assert (s3.port, s3.pid == pid) == (port, False)
    assert s3.get("plain", "kept").content == b"x"


@pytest.mark.parametrize(("required", "told"), [("", "1 skipped"), ("1", "1 failed")])
def test_where_it_is_not_installed_a_test_is_skipped_or_fails(
    required: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    shutil.copy(ROOT / "tests" / "s3_server.py", tmp_path / "tests")
    (tmp_path / "tests" / "test_scenario.py").write_text(_SCENARIO)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rfs", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path,
        env={**os.environ, "REQUIRE_CLIENTS": required},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told in done.stdout
    assert "`make s3-server` installs it" in done.stdout
