"""What a worker answers by itself."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pytest

from mirror.config import Config
from tests.unit.serve.fakes import Bench, config_with, parse_answer, running_worker


async def ask(bench: Bench, target: str, host: str, *lines: str) -> dict[str, str]:
    head = [f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: close", *lines]
    answer = parse_answer(await bench.exchange("\r\n".join(head).encode() + b"\r\n\r\n"))
    assert answer.status == 200
    parsed = json.loads(answer.content)
    assert isinstance(parsed, dict)
    return parsed


@pytest.mark.parametrize(
    ("target", "host", "base"),
    [
        pytest.param("/index/config.json", "mirror.test", "http://mirror.test", id="plain"),
        pytest.param("/index/config.json", "M.test:8080", "http://m.test:8080", id="port"),
        pytest.param("/index/config.json", "[::1]:8080", "http://[::1]:8080", id="ipv6"),
        pytest.param("/crates.io-index/config.json", "m", "http://m", id="other-prefix"),
        pytest.param(
            "/config.json", "index.crates.io:81", "http://static.crates.io:81", id="dns-style"
        ),
    ],
)
async def test_index_config_names_the_host_it_was_asked_by(
    tmp_path: Path, target: str, host: str, base: str
) -> None:
    async with running_worker(tmp_path) as bench:
        config = await ask(bench, target, host)
        assert config["dl"] == f"{base}/crates/{{crate}}/{{crate}}-{{version}}.crate"


async def test_public_url_wins(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(public_url="https://pub.test/")) as bench:
        config = await ask(bench, "/config.json", "index.crates.io")
        assert config["dl"].startswith("https://pub.test/crates/{crate}/")


async def test_only_the_real_registry_has_an_api(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        assert "api" not in await ask(bench, "/index/config.json", "m")
        assert (await ask(bench, "/config.json", "index.crates.io"))["api"] == "https://crates.io"


async def test_scheme_of_a_trusted_proxy_counts(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(trusted_proxies=("127.0.0.0/8",))) as bench:
        config = await ask(bench, "/index/config.json", "m", "X-Forwarded-Proto: http, https")
        assert config["dl"].startswith("https://m/")
        assert "forwarded-proto-ignored" not in bench.log.names()


async def test_scheme_of_an_untrusted_proxy_is_warned_about_once(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        for _ in range(3):
            config = await ask(bench, "/index/config.json", "m", "X-Forwarded-Proto: https")
            assert config["dl"].startswith("http://m/")
        assert bench.log.names().count("forwarded-proto-ignored") == 1


async def test_front_page_has_this_host_filled_in(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        answer = await bench.get("/")
        page = html.unescape(answer.content.decode())
        assert answer.fields["content-type"] == "text/html; charset=utf-8"
        assert "RUSTUP_DIST_SERVER=http://mirror.test\n" in page
        assert 'registry = "sparse+http://mirror.test/index/"' in page
        assert "$base" not in page
        assert "<script" not in page
        for subject in ("rustup", "cargo", "GitHub Actions", "GitLab", "Docker"):
            assert subject in page


async def test_front_page_escapes_the_public_url(tmp_path: Path) -> None:
    config = config_with(public_url='http://m.test/"><script>')
    async with running_worker(tmp_path, config) as bench:
        assert b"<script>" not in (await bench.get("/")).content


async def test_local_answers_have_validators(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        first = await bench.get("/index/config.json")
        same = await bench.get("/index/config.json", f"If-None-Match: {first.fields['etag']}")
        assert same.status == 304
        assert (await bench.get("/", method="HEAD")).status == 200


async def test_rustup_script_is_redirected_here(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        answer = await bench.get("/rustup.sh")
        assert (answer.status, answer.fields["location"]) == (301, "/rustup/rustup-init.sh")


async def test_health(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        assert (await bench.get("/livez")).content == b"live\n"
        assert (await bench.get("/readyz")).content == b"ready\n"
        bench.reader.is_readable = False
        unready = await bench.get("/readyz")
        assert (unready.status, unready.content) == (503, b"The store cannot be read.\n")
        assert (await bench.get("/livez")).status == 200


async def test_robots_keep_away(tmp_path: Path) -> None:
    async with running_worker(tmp_path, Config()) as bench:
        assert b"Disallow: /" in (await bench.get("/robots.txt")).content
