"""nginx and Varnish as caches of the simulated upstream, as their users would set them up.

Rules:
1. One worker (nginx) or one pool on one core (Varnish), logs off, everything in a folder of the
   benchmark; nothing of the machine's own installation is read or changed but the programs.
2. Targets are those of the mirror: `/index/…` is the index host's `/…`.

Does not: serve the comparison of hits, whose configurations are files in `benchmarks/hit/`.
Runs in: benchmark.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import Running, await_answer, free_port, started

SERVER_CORE = 0

_NGINX = """
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    proxy_cache_path {folder}/nginx-cache levels=1:2 keys_zone=bench:10m max_size=1g
                     inactive=1h use_temp_path=off;
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_cache bench;
        proxy_cache_lock {lock};
        proxy_cache_valid 200 1h;
        proxy_ignore_headers Cache-Control Expires Vary;
        add_header X-Cache-Status $upstream_cache_status;
        location /index/ {{ proxy_pass {index}/; }}
        location / {{ proxy_pass {releases}; }}
    }}
}}
"""

_VARNISH = """
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{port}"; }}
sub vcl_recv {{
    set req.url = regsub(req.url, "^/index/", "/");
    return (hash);
}}
sub vcl_backend_response {{
    set beresp.ttl = 1h;
    unset beresp.http.Vary;
    return (deliver);
}}
"""


@contextlib.contextmanager
def nginx(
    folder: Path,
    *,
    index_url: str,
    releases_url: str,
    has_lock: bool = False,
    core: int | None = SERVER_CORE,
) -> Iterator[tuple[Running, str]]:
    """Run nginx with `proxy_cache`; yields it and its base URL. Needs `nginx` on PATH.

    `has_lock` adds `proxy_cache_lock` (off by default), which lets clients share a fetch.
    """
    folder.mkdir()
    port = free_port()
    # A master started by root gives its workers away to another user, who may not enter here.
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(
        _NGINX.format(
            folder=folder,
            port=port,
            user=user,
            index=index_url,
            releases=releases_url,
            lock="on" if has_lock else "off",
        )
    )
    command: list[str | Path] = [
        "nginx",
        "-p",
        folder,
        "-c",
        config,
        "-e",
        folder / "nginx-start.log",
    ]
    with started("nginx", command, folder, core=core) as running:
        base = f"http://127.0.0.1:{port}"
        await_answer(f"{base}/index/config.json", running)
        yield running, base


@contextlib.contextmanager
def varnish(
    folder: Path,
    *,
    upstream_url: str,
    ready: str = "/index/config.json",
    core: int | None = SERVER_CORE,
) -> Iterator[tuple[Running, str]]:
    """Run Varnish with memory storage before one upstream; yields it and its base URL.

    `ready` is a path that the upstream answers. Needs `varnishd` on PATH.
    """
    folder.mkdir()
    port = free_port()
    vcl = folder / "bench.vcl"
    vcl.write_text(_VARNISH.format(port=upstream_url.rpartition(":")[2]))
    command: list[str | Path] = [
        "varnishd", "-F", "-n", folder / "varnish", "-j", "none", "-f", vcl,
        "-a", f"127.0.0.1:{port}", "-T", "none", "-s", "malloc,256m",
        "-p", "thread_pools=1", "-p", "thread_pool_min=50",
    ]  # fmt: skip
    with started("varnish", command, folder, core=core) as running:
        base = f"http://127.0.0.1:{port}"
        await_answer(base + ready, running)
        yield running, base


def is_installed(program: str) -> bool:
    return shutil.which(program) is not None
