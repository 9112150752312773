"""An S3 server of the test's own: ministack in a process, on a free loopback port.

```python
with start_s3_server() as s3:
    s3.create_bucket("releases", versioned=True)
    version = s3.put("releases", "dist/x.tar.gz", content)
    s3.url, s3.stop(), s3.start(), s3.delete("releases", "dist/x.tar.gz")
    s3.settings("crates")          # what makes an Edge read s3:// URLs of [upstream.crates] here
```

Rules:
1. It lives in `.venv-s3` (it pins another botocore than the product); `make s3-server` builds that.
   Where it is absent the test is skipped with that sentence, or fails under `REQUIRE_CLIENTS=1`.
2. Before it is handed out it has refused a content with a wrong checksum, and nothing of it listens
   on anything but 127.0.0.1.
3. The process is ended by its own id; it also ends when this process does (its standard input
   closes). `stop` and `start` keep port and objects.
4. Requests of this module carry a name and no signature: ministack takes the name for the account,
   and one account may not read another's buckets (AccessDenied).

Runs in: tests.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import pytest

OWNER = "111111111111"  # whose buckets the tests read
STRANGER = "222222222222"
REGION = "us-east-1"
_PYTHON = Path(__file__).parent.parent / ".venv-s3" / "bin" / "python"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 5.0
_POLL_S = 0.02
_ABSENT = "no S3 server: `make s3-server` installs it"

# Ends with its parent, as the simulator does.
_PROGRAM = """
import os, sys, threading
def watch():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
from ministack.app import main
sys.argv[1:] = []
main()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Reply:
    status: int
    fields: Mapping[str, str]  # names in lower case
    content: bytes

    @property
    def code(self) -> str:
        """S3's name of the error."""
        return self.content.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()


def is_installed() -> bool:
    return _PYTHON.exists()


def start_s3_server() -> S3Server:
    """Start it and wait until it answers; skips or fails the test where it is not installed."""
    if not is_installed():
        if os.environ.get("REQUIRE_CLIENTS", "") not in ("", "0"):
            pytest.fail(f"REQUIRE_CLIENTS is set and there is {_ABSENT}")
        pytest.skip(_ABSENT)
    server = S3Server()
    server.start()
    try:
        server.check_it_is_strict()
    except BaseException:
        server.close()
        raise
    return server


class S3Server:
    """A running server; a context manager that ends it. Owner of every bucket: `OWNER`."""

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._folder = tempfile.TemporaryDirectory(prefix="s3-server-")
        self._done: list[tuple[str, str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        """Start, or start again with the objects of before (under other version ids)."""
        self.port = self.port or _free_port()
        self._process = subprocess.Popen(
            [_PYTHON, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            env=self._environment(),
            cwd=self._folder.name,
        )
        self._wait_until_it_answers()
        self._check_it_is_local()
        for method, target, fields, content in self._done:
            self._ask(method, target, fields, content)

    def stop(self) -> None:
        """End the process; safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def close(self) -> None:
        self.stop()
        self._log.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Objects

    def create_bucket(self, bucket: str, *, versioned: bool = False) -> None:
        self._change("PUT", f"/{bucket}")
        if versioned:
            status = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
            self._change("PUT", f"/{bucket}?versioning", content=status)

    def put(
        self,
        bucket: str,
        key: str,
        content: bytes,
        *,
        checksum: bool = True,
        fields: Mapping[str, str] | None = None,
    ) -> str:
        """Store an object, with its SHA-256 as stored checksum; return its version id or ""."""
        sent = dict(fields or {})
        if checksum:
            sent["x-amz-checksum-sha256"] = sha256_field(content)
        reply = self._change("PUT", _target(bucket, key), sent, content)
        return reply.fields.get("x-amz-version-id", "")

    def delete(self, bucket: str, key: str) -> None:
        self._change("DELETE", _target(bucket, key))

    def get(self, bucket: str, key: str, *, account: str = OWNER, version: str = "") -> S3Reply:
        query = "?" + urlencode({"versionId": version}) if version else ""
        return self.request("GET", _target(bucket, key) + query, account=account)

    def head(self, bucket: str, key: str) -> S3Reply:
        fields = {"x-amz-checksum-mode": "ENABLED"}
        return self.request("HEAD", _target(bucket, key), fields=fields)

    def request(
        self,
        method: str,
        target: str,
        *,
        fields: Mapping[str, str] | None = None,
        content: bytes = b"",
        account: str = OWNER,
    ) -> S3Reply:
        """Ask anything, whatever the answer; `account` is who asks."""
        return self._ask(method, target, {**_name_of(account), **(fields or {})}, content)

    # What the mirror needs

    def settings(self, upstream: str, *, endpoint: str = "", secret: Path) -> dict[str, str]:
        """Return the settings of one upstream's `s3://` URLs; `secret` is written for it."""
        secret.write_text("not-checked\n")
        table = f"upstream.{upstream}.s3"
        return {
            f"{table}.endpoint": endpoint or self.url,
            f"{table}.region": REGION,
            f"{table}.access_key_id": OWNER,
            f"{table}.secret_access_key_file": str(secret),
        }

    def check_it_is_strict(self) -> None:
        """A server that takes any checksum would prove nothing."""
        self.create_bucket("strictness")
        wrong = {"x-amz-checksum-sha256": sha256_field(b"other bytes")}
        refused = self.request("PUT", "/strictness/x", fields=wrong, content=b"bytes")
        assert (refused.status, refused.code) == (400, "BadDigest"), refused
        assert self.get("strictness", "x").status == 404, "refused and kept all the same"
        self.put("strictness", "x", b"bytes")
        assert self.head("strictness", "x").fields["x-amz-checksum-sha256"] == sha256_field(
            b"bytes"
        )

    def _change(
        self,
        method: str,
        target: str,
        fields: Mapping[str, str] | None = None,
        content: bytes = b"",
    ) -> S3Reply:
        sent = {**_name_of(OWNER), **(fields or {})}
        reply = self._ask(method, target, sent, content)
        assert reply.status in (200, 204), reply
        self._done.append((method, target, sent, content))
        return reply

    def _ask(self, method: str, target: str, fields: Mapping[str, str], content: bytes) -> S3Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, target, body=content or None, headers=dict(fields))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return S3Reply(status=response.status, fields=names, content=response.read())
        finally:
            connection.close()

    def _environment(self) -> dict[str, str]:
        inherited = ("PATH", "HOME", "LANG", "LC_ALL")
        return {name: os.environ[name] for name in inherited if name in os.environ} | {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "SERVICES": "s3,sts",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
            "DOCKER_HOST": f"unix://{self._folder.name}/no-docker",
            "TMPDIR": self._folder.name,
            "STATE_DIR": f"{self._folder.name}/state",
            "S3_DATA_DIR": f"{self._folder.name}/s3",
        }

    def _wait_until_it_answers(self) -> None:
        process = self._process
        end_at = time.monotonic() + _START_TIMEOUT_S
        while process is not None and process.poll() is None and time.monotonic() < end_at:
            try:
                if self.request("GET", "/").status == 200:
                    return
            except OSError:
                time.sleep(_POLL_S)
        self._log.seek(0)
        said = self._log.read().decode("utf-8", "replace")
        self.stop()
        raise AssertionError(f"the S3 server did not start: {said[-2000:]}")

    def _check_it_is_local(self) -> None:
        addresses = listening_addresses(self.pid)
        assert addresses == [("0100007F", self.port)], f"it listens on {addresses}"


def sha256_field(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def listening_addresses(pid: int) -> list[tuple[str, int]]:
    """Return address (as the kernel writes it) and port of each TCP listener of a process."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        name = os.readlink(entry)
        if name.startswith("socket:["):
            inodes.add(name.removeprefix("socket:[").removesuffix("]"))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and cells[9] in inodes:
                address, _, port = cells[1].partition(":")
                found.append((address, int(port, 16)))
    return found


def _target(bucket: str, key: str) -> str:
    return f"/{bucket}/{quote(key, safe='/')}"


def _name_of(account: str) -> dict[str, str]:
    if not account:
        return {}  # anonymous
    scope = f"{account}/20260101/{REGION}/s3/aws4_request"
    return {
        "authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
