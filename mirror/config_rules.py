"""What a configuration must satisfy beyond its types: one rule per key, and those between keys.

Rules:
1. A rule returns the sentence that says what is allowed, or "" when the value is good; what
   concerns several keys is a `_check_…` that raises.
2. The first key that breaks its rule is reported; the sentence tells how to repair it.
3. A key whose part is not built is refused when set to anything but its default, so that
   nobody believes in a protection that is not there.

Does not: read files, resolve names, or look at the machine.
Runs in: supervisor and commands. Pure.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from urllib.parse import SplitResult, urlsplit

from mirror.acceptances import FORM, parse_acceptance
from mirror.addresses import parse_listen
from mirror.config import S3, Config
from mirror.config_limit_rules import LIMIT_RULES, Rule, between, each, network
from mirror.config_tls_rules import check_tls
from mirror.errors import ConfigError

NOT_AVAILABLE = "not available in this version"
UPSTREAMS = ("releases", "crates", "index")
MAX_WORKERS = 64  # far above useful: the records of the shared page are laid out for twice as many

# What the sockets below state.path are called; the keeper's is bound under this name first.
LONGEST_SOCKET_NAME = "keeper.sock.binding"
MAX_SOCKET_PATH_BYTES = 107  # sockaddr_un.sun_path, without its final NUL

# The names that S3 gives today; servers of others take no wider ones.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()/+=@,:$&-]*")
_ROLE_ARN = re.compile(r"arn:[a-z-]+:iam::\d{12}:role/[\w+=,.@/-]{1,576}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)  # as STS takes them
_REGION = re.compile(r"[a-z0-9-]{0,32}")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{40}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MINOR_VERSION = re.compile(r"\d{1,4}\.\d{1,4}", re.ASCII)


def check(config: Config) -> None:
    """Raises ConfigError for the first key that breaks its rule."""
    for key, rule in _RULES.items():
        value = value_of(config, key)
        allowed = rule(value)
        if allowed:
            raise ConfigError(key, _plain(value), allowed)
    for name in UPSTREAMS:
        _check_connect_to(config, f"upstream.{name}")
        _check_s3(getattr(config.upstream, name).s3, f"upstream.{name}.s3")
    _check_listeners(config)
    check_tls(config.serve)
    _check_directories(config)
    _check_crate_times(config)


def value_of(config: Config, key: str) -> object:
    """Return the value at the dotted `key`."""
    value: object = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _check_connect_to(config: Config, section: str) -> None:
    """`connect_to` replaces what DNS says; an address is connected to without asking DNS."""
    connect_to = value_of(config, f"{section}.connect_to")
    urls = value_of(config, f"{section}.urls")
    parts = _split_url(urls[0]) if isinstance(urls, tuple) else None
    if connect_to and parts is not None and parts.scheme == "s3":
        allowed = f"empty: what an s3:// URL is read from is {section}.s3.endpoint"
        raise ConfigError(f"{section}.connect_to", connect_to, allowed)
    if connect_to and parts is not None and _is_address(parts.hostname or ""):
        allowed = f"empty, or a host name instead of the address in {section}.urls"
        raise ConfigError(f"{section}.connect_to", connect_to, allowed)


def _check_s3(s3: S3, table: str) -> None:
    """Credentials come whole, and an anonymous reader has none."""
    if bool(s3.access_key_id) != bool(s3.secret_access_key_file):
        name = "secret_access_key_file" if s3.access_key_id else "access_key_id"
        raise ConfigError(f"{table}.{name}", "", "set: key id and secret belong together")
    for name in ("access_key_id", "role_arn", "requester_pays"):
        if s3.anonymous and (value := getattr(s3, name)):
            raise ConfigError(f"{table}.{name}", value, f"empty while {table}.anonymous is true")
    if s3.external_id and not s3.role_arn:
        raise ConfigError(f"{table}.external_id", s3.external_id, f"empty without {table}.role_arn")


def _check_listeners(config: Config) -> None:
    """An address can be listened on once; port 0 is another port each time."""
    taken = set()
    for key in ("serve.listen", "serve.tls_listen"):
        texts = value_of(config, key)
        for text in texts if isinstance(texts, tuple) else ():
            address = parse_listen(text)
            if address.port and address in taken:
                raise ConfigError(key, text, "each address once, in one of listen and tls_listen")
            taken.add(address)
    if config.control.listen:
        address = parse_listen(config.control.listen)
        if address.port and address in taken:
            allowed = "the same address as serve.listen or tls_listen; choose another one, or none"
            raise ConfigError("control.listen", config.control.listen, allowed)


def _check_directories(config: Config) -> None:
    """What the store sweeps must not hold the state; the state may hold the store."""
    store = posixpath.normpath(config.store.path)
    state = posixpath.normpath(config.state.path)
    if state == store:
        raise ConfigError("store.path", config.store.path, "another directory than state.path")
    if state.startswith(store.rstrip("/") + "/"):
        allowed = f"a directory outside store.path, which is {store!r}"
        raise ConfigError("state.path", config.state.path, allowed)


def _check_crate_times(config: Config) -> None:
    """A check in the background comes before one that is waited for."""
    wait_s = config.freshness.crate_wait
    if wait_s < config.freshness.crate_check:
        allowed = "at least as long as freshness.crate_check"
        raise ConfigError("freshness.crate_wait", wait_s, allowed)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _unavailable(value: object) -> str:
    return NOT_AVAILABLE if value else ""


def _listen(value: object) -> str:
    try:
        parse_listen(str(value))
    except ValueError as exc:
        return str(exc)
    return ""


def _optional(rule: Rule) -> Rule:
    return lambda value: rule(value) if value else ""


def _split_url(value: object) -> SplitResult | None:
    try:
        parts = urlsplit(str(value))
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        return None
    return parts


def _url(value: object) -> str:
    parts = _split_url(value)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        return 'an http:// or https:// URL such as "https://mirror.example"'
    if parts.username is not None or parts.query or parts.fragment:
        return "a URL without user name, query or fragment"
    return ""


def _upstream_url(value: object) -> str:
    if not str(value).startswith("s3://"):
        return _url(value)
    bucket, _, prefix = str(value).removeprefix("s3://").partition("/")
    if _BUCKET.fullmatch(bucket) and _PREFIX.fullmatch(prefix):
        return ""
    return '"s3://bucket" or "s3://bucket/prefix", without query or fragment'


def _proxy_url(value: object) -> str:
    parts = _split_url(value)
    if parts is None or parts.scheme != "http" or not parts.hostname:
        return 'the proxy as an http:// URL such as "http://proxy.example:3128"'
    return ""


def _url_list(value: object) -> str:
    return each(_upstream_url)(value) if value else "at least one URL, in order of preference"


def _host_and_port(value: object) -> str:
    host, _, port = str(value).rpartition(":")
    if _HOST.fullmatch(host) and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
        return ""
    return 'host:port such as "203.0.113.7:443"'


def _host(value: object) -> str:
    return "" if _HOST.fullmatch(str(value)) else "host names without a port"


def _one_line(value: object) -> str:
    text = str(value)
    return "" if text.isprintable() and text.isascii() else "printable ASCII on one line"


def _fingerprints(value: object) -> str:
    allowed = "fingerprints of 40 hexadecimal digits, at least one"
    if not isinstance(value, tuple) or not value:
        return allowed
    return "" if all(_FINGERPRINT.fullmatch(item) for item in value) else allowed


def _proof(value: object) -> str:
    return "" if value in ("signature", "digest") else '"signature" or "digest"'


def _acceptance(value: object) -> str:
    try:
        parse_acceptance(str(value))
    except ValueError:
        return f"{FORM}, as the event about what is held says it"
    return ""


def _date(value: object) -> str:
    return "" if _DATE.fullmatch(str(value)) else 'a date such as "2019-01-01"'


def _minor_version(value: object) -> str:
    return "" if _MINOR_VERSION.fullmatch(str(value)) else 'a version such as "1.32"'


def _addressing(value: object) -> str:
    return "" if value in ("auto", "path", "virtual") else '"auto", "path" or "virtual"'


def _one_of(*words: str) -> Rule:
    allowed = " or ".join(f'"{word}"' for word in words)
    return lambda value: "" if value in words else allowed


def _region(value: object) -> str:
    return "" if _REGION.fullmatch(str(value)) else 'a region such as "eu-central-1", or empty'


def _role_arn(value: object) -> str:
    is_arn = _ROLE_ARN.fullmatch(str(value)) is not None
    return "" if is_arn else 'a role such as "arn:aws:iam::123456789012:role/reader"'


def _external_id(value: object) -> str:
    is_id = _EXTERNAL_ID.fullmatch(str(value)) is not None
    return "" if is_id else "2 to 1224 letters, digits and +=,.@:/-_"


def _s3_rules(upstream: str) -> dict[str, Rule]:
    table = f"upstream.{upstream}.s3"
    return {
        f"{table}.endpoint": _optional(_url),
        f"{table}.sts_endpoint": _optional(_url),
        f"{table}.region": _region,
        f"{table}.access_key_id": _one_line,
        f"{table}.role_arn": _optional(_role_arn),
        f"{table}.external_id": _optional(_external_id),
        f"{table}.addressing": _addressing,
    }


def _unverified_ranges(value: object) -> str:
    return "" if value in ("stream", "wait") else '"stream" or "wait"'


def _directory(value: object) -> str:
    text = str(value)
    return "" if text and "\0" not in text else "the path of a directory"


def _file(value: object) -> str:
    return "the path of a file" if "\0" in str(value) else ""


def _state_directory(value: object) -> str:
    longest = posixpath.join(str(value), LONGEST_SOCKET_NAME)
    if len(longest.encode("utf-8", "surrogateescape")) > MAX_SOCKET_PATH_BYTES:
        return "a shorter path: unix sockets below it have a limit"
    return _directory(value)


_RULES: dict[str, Rule] = {
    "serve.listen": each(_listen),
    "serve.tls_listen": each(_listen),
    "serve.tls.client_certificates": _one_of("off", "optional", "required"),
    "serve.tls.min_version": _one_of("1.2", "1.3"),
    "serve.plaintext": _one_of("serve", "redirect", "refuse"),
    "serve.workers": between(0, MAX_WORKERS, " (0: one per core)"),
    "serve.public_url": _optional(_url),
    "serve.trusted_proxies": each(network),
    "serve.max_target": between(256, 1 << 20),
    "serve.max_head": between(1024, 1 << 20),
    "serve.max_ranges": between(1, 256),
    "serve.max_connections": between(1, 1 << 20),
    "serve.http2.max_streams": between(1, 1024),
    "serve.http2.max_field_list": between(1024, 1 << 20),
    "serve.http2.max_wasted_streams": between(10, 1 << 20),
    "serve.http2.max_control_frames": between(100, 1 << 20),
    "serve.http2.max_window_updates": between(100, 1 << 20),
    "serve.http2.max_empty_frames": between(10, 1 << 20),
    "serve.http2.max_field_bytes": between(65_536, 1 << 30),
    "serve.max_connections_per_client": between(0, 1 << 20, " (0: no limit)"),
    "control.listen": _optional(_listen),
    "control.allowed_hosts": each(_host),
    "store.path": _directory,
    "state.path": _state_directory,
    "upstream.contact": _one_line,
    "upstream.proxy": _optional(_proxy_url),
    "upstream.attempts": between(1, 20),
    "upstream.max_connections": between(1, 1024),
    "upstream.max_fills": between(1, 4096),
    "upstream.releases.urls": _url_list,
    "upstream.releases.connect_to": _optional(_host_and_port),
    "upstream.crates.urls": _url_list,
    "upstream.crates.connect_to": _optional(_host_and_port),
    "upstream.index.urls": _url_list,
    "upstream.index.connect_to": _optional(_host_and_port),
    **{key: rule for name in UPSTREAMS for key, rule in _s3_rules(name).items()},
    "trust.release_key_fingerprints": _fingerprints,
    "trust.channel_manifest": _proof,
    "trust.archive": _proof,
    "trust.unverified_ranges": _unverified_ranges,
    "trust.accept": each(_acceptance),
    "trust.legacy_before_date": _date,
    "trust.legacy_before_version": _minor_version,
    "log.access": _file,
    "log.sample_one_in": between(1, 1 << 20),
    "accounting.groups": _file,
    "accounting.prices": _file,
    "accounting.top_objects": between(0, 10_000),
    "accounting.sampled_objects": between(256, 1 << 17),
    **LIMIT_RULES,
    "origin": _unavailable,
}
