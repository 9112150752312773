"""A worker process as a whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mirror.accounting.layout import Outcome
from mirror.route.route import ContentClass
from tests.unit.serve.fakes import INDEX_KEY, INDEX_TARGET, running_worker

_FORBIDDEN = ("aiohttp", "botocore", "cryptography", "prometheus_client", "jinja2", "rich")


async def test_stored_object_is_served_with_its_fields(tmp_path: Path) -> None:
    content = b'{"name":"serde"}\n'
    async with running_worker(tmp_path) as bench:
        stored = bench.reader.keep(INDEX_KEY, content)
        answer = await bench.get(INDEX_TARGET)
        assert (answer.status, answer.content) == (200, content)
        assert answer.fields == {
            "date": "Fri, 15 Jan 2027 08:00:00 GMT",
            "content-length": str(len(content)),
            "content-type": "text/plain",
            "accept-ranges": "bytes",
            "etag": f'"{stored.entry.digest.hex()}"',
            "repr-digest": "sha-256=:OXE+8kuI9bBtsqwNb1mCKArJpxt8SwtVWbTyQxxsKwE=:",
            "cache-control": "public, max-age=60",
            "vary": "Accept-Encoding",
            "last-modified": "Tue, 14 Nov 2023 22:13:20 GMT",
            "age": "10",
            "cache-status": "rust-mirror; hit",
            "via": "1.1 rust-mirror",
            "connection": "close",
        }
        assert bench.count(ContentClass.INDEX, Outcome.HIT) == (1, len(content))
        assert bench.keeper.asked == []


async def test_learned_answer_equals_the_parsed_one(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, b"x" * 2048)
        raw = f"GET {INDEX_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n".encode()
        assert await bench.exchange(raw) == await bench.exchange(raw)
        assert bench.count(ContentClass.INDEX, Outcome.HIT) == (2, 4096)


def test_worker_imports_nothing_of_the_keepers() -> None:
    code = (
        "import sys, mirror.serve.worker, mirror.fill.client, mirror.store.reader;"
        f"print([name for name in {_FORBIDDEN!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "[]"
