"""Configuration values: declared once, validated once, frozen.

Rules:
1. Precedence: flag > environment (`RUST_MIRROR__SECTION__KEY`) > file > default.
2. An unknown key is refused with its path; a wrong value with what is allowed.
3. Sizes and durations are strings with units ("100GiB", "60s"); inside they are bytes and seconds.
4. Every limit on outside input is a key here, with its default and the reason for it.
5. A key of a part that this version lacks is known by name and refused unless empty.

Does not: parse (`config_sources`), judge (`config_rules`), open files, or keep state.
Runs in: supervisor and commands (workers and the keeper inherit the value).
"""

from __future__ import annotations

import msgspec


class ByteSize(int):
    """A number of bytes, written with a binary unit: "512KiB", "100GiB", "4096"."""


class ByteSizeOrZero(ByteSize):
    """As `ByteSize`, and "0" turns off what it limits."""


class Duration(float):
    """A number of seconds, written with a unit: "500ms", "60s", "10m", "1h", "7d"."""


class DurationOrZero(Duration):
    """As `Duration`, and "0s" turns off what it limits."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file; unknown keys are refused."""


class ServeTls(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    certificate: str = ""  # file: the server's certificate, then its intermediates (PEM)
    private_key: str = ""  # file: its key, not encrypted
    client_ca: str = ""  # file: who may sign client certificates
    client_certificates: str = "off"  # or "optional", "required"
    min_version: str = "1.2"  # or "1.3"
    handshake_timeout: Duration = Duration(10)  # a full one takes 2 round trips, at most 3


class Http2(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits are per connection; a breach ends it with ENHANCE_YOUR_CALM."""

    enabled: bool = True  # prior knowledge, `Upgrade: h2c`, and by ALPN under TLS
    max_streams: int = 128  # requests at once; RFC 9113 advises 100 at least, cargo has up to 100
    max_field_list: ByteSize = ByteSize(16384)  # of one request, decoded; as max_head
    max_wasted_streams: int = 1000  # reset or refused, given back in 30 s (rapid reset)
    max_control_frames: int = 1000  # PING, SETTINGS, PRIORITY, …, given back in 10 s
    max_window_updates: int = 2000  # beyond one per KiB that was sent; given back in 4 s
    max_empty_frames: int = 100  # that carry nothing and end nothing, given back in 10 s
    # Of request fields beyond 1 KiB per request, given back in 1 s: 0.1 s of decoding at once.
    max_field_bytes: ByteSize = ByteSize(1 << 20)


class Serve(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    listen: tuple[str, ...] = ("127.0.0.1:8080",)
    tls_listen: tuple[str, ...] = ()  # needs serve.tls.certificate and private_key
    tls: ServeTls = ServeTls()
    http2: Http2 = Http2()
    plaintext: str = "serve"  # or "redirect", "refuse": what plaintext listeners answer
    workers: int = 0  # 0: one per core
    public_url: str = ""  # empty: from the validated Host field
    trusted_proxies: tuple[str, ...] = ()  # CIDRs whose X-Forwarded-For and PROXY lines count
    proxy_protocol: bool = False  # every plaintext connection begins with a PROXY v1/v2 header
    head_timeout: Duration = Duration(10)  # whole head received; slowloris (CVE-2020-9481 class)
    idle_timeout: Duration = Duration(75)  # between requests; nginx's keepalive_timeout
    write_timeout: Duration = Duration(60)  # a client that is behind is measured over so long
    min_rate: ByteSize = ByteSize(1024)  # and must have taken so much per second; a modem: 3500
    drain_timeout: Duration = Duration(30)  # after SIGTERM a worker ends its transfers, at most
    keeper_wait: Duration = Duration(5)  # a miss waits for an absent keeper, then 503
    max_target: ByteSize = ByteSize(2048)  # longest known request target is about 200 bytes
    max_head: ByteSize = ByteSize(16384)  # whole head; cargo sends about 400 bytes
    max_ranges: int = 32  # of one request; zsync asks for 20, and each costs a head of 150 bytes
    max_connections: int = 8192  # per worker; each idle one costs about 3 KB
    max_connections_per_client: int = 1024  # per worker; 0: any; a NAT of 250 cargo builds
    hot_memory: ByteSize = ByteSize(128 << 20)  # RAM tier per worker; half for up to 64 KiB


class Control(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    listen: str = "127.0.0.1:9090"  # empty: no TCP listener
    allowed_hosts: tuple[str, ...] = ()  # further Host names it answers to (DNS rebinding)


class StoreQuotas(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that a class of content may take of the budget; 0: all of it."""

    release: ByteSizeOrZero = ByteSizeOrZero(0)
    rustup: ByteSizeOrZero = ByteSizeOrZero(0)
    crate: ByteSizeOrZero = ByteSizeOrZero(0)
    index: ByteSizeOrZero = ByteSizeOrZero(0)


class Scrub(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every stored byte is read and hashed again, the one checked longest ago first."""

    enabled: bool = True
    rate: ByteSize = ByteSize(12 << 20)  # per second: 1 TB a day, at most 3 % of a core
    every: Duration = Duration(86400)  # a blob is not read again sooner


class Limits(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one client, and all together, may ask for. A client is an IPv4 address, or an IPv6
    network of `ipv6_prefix` bits. 0: no limit.

    Off for clients unless set: hundreds of builds may share one address.
    """

    client_requests: int = 0  # per second, over 10 s; more are answered 429
    client_rate: ByteSizeOrZero = ByteSizeOrZero(0)  # bytes per second; more is sent later
    client_streams: int = 0  # requests at once, over all connections; more are answered 429
    ipv6_prefix: int = 64  # a customer's own network (RFC 6177)
    exempt: tuple[str, ...] = ()  # CIDRs that are not limited; loopback and proxies never are
    tracked_clients: int = 16384  # remembered at once; the one seen longest ago is forgotten
    # Per worker that wait for the keeper; more are answered 503. As many as max_connections, so
    # that it bounds the streams of HTTP/2 (measured: a miss that waits and follows holds 21 KB).
    queued_misses: int = 8192
    # A miss that waits longer for a place at its upstream is answered 503; cargo waits 30 s.
    queue_wait: Duration = Duration(20)


class Store(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: str = "/var/cache/rust-mirror"
    budget: ByteSize = ByteSize(100 << 30)
    max_object: ByteSize = ByteSize(4 << 30)  # largest release file is under 1 GiB
    ranges_only_above: ByteSize = ByteSize(1 << 30)  # cold ranges of larger ones fill nothing else
    quarantine_budget: ByteSize = ByteSize(256 << 20)
    quarantine_keep: Duration = Duration(30 * 86400)  # long enough for somebody to look
    # Left free on the disk by fills: the index, its log and other programs write there too.
    free_floor: ByteSizeOrZero = ByteSizeOrZero(256 << 20)
    free_inodes: int = 1000  # left free: an object takes one to three, and journals need some
    pins: tuple[str, ...] = ()  # keys, or prefixes ending in "*", that eviction leaves alone
    quotas: StoreQuotas = StoreQuotas()


class State(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: str = "/var/lib/rust-mirror"


class S3(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the `s3://` URLs of one upstream are read; secrets are files, never values."""

    endpoint: str = ""  # empty: AWS's for the region
    sts_endpoint: str = ""  # empty: AWS's for the region
    region: str = ""  # empty: as the AWS configuration says, else us-east-1
    anonymous: bool = False  # a public bucket: requests are not signed
    access_key_id: str = ""  # empty: environment, profile, instance role
    secret_access_key_file: str = ""
    role_arn: str = ""  # a role to assume with the credentials above
    external_id: str = ""
    requester_pays: bool = False
    addressing: str = "auto"  # or "path", "virtual"
    denied_is_absent: bool = False  # 403 stands for a missing key: no ListBucket permission


class Releases(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    urls: tuple[str, ...] = ("https://static.rust-lang.org",)
    connect_to: str = ""
    s3: S3 = S3()


class Crates(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    urls: tuple[str, ...] = ("https://static.crates.io",)
    connect_to: str = ""
    s3: S3 = S3()


class Index(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    urls: tuple[str, ...] = ("https://index.crates.io",)
    connect_to: str = ""
    s3: S3 = S3()


class Upstream(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    contact: str = ""  # goes into the User-Agent
    proxy: str = ""  # egress proxy; HTTPS_PROXY is honoured
    ca_file: str = ""  # extra CA certificates
    connect_timeout: Duration = Duration(5)
    read_timeout: Duration = Duration(20)  # silence, not total: bodies are big
    attempts: int = 3  # per URL of the pool
    max_connections: int = 32  # per host
    max_fills: int = 32  # at once per upstream; further misses queue (fill.gates)
    range_ahead: ByteSize = ByteSize(1 << 20)  # further ahead of a fill a range is asked for apart
    max_small: ByteSize = ByteSize(8 << 20)  # objects read into memory; largest index file ~2 MB
    # Politeness, per upstream: we must never become the client that an upstream blocks.
    max_rate: ByteSizeOrZero = ByteSizeOrZero(0)  # bytes per second read from it; 0: any
    max_requests: int = 200  # per second asked of it, over 10 s; cargo alone has asked for 100
    breaker_failures: int = 5  # in a row: the URL is then left alone but for one probe at a time
    breaker_rest: Duration = Duration(5)  # until the first probe; doubled by each that fails
    breaker_longest: Duration = Duration(60)  # what it is doubled to
    failover_hold: Duration = Duration(10)  # a URL that recovered proves itself so long first
    # No first byte for so long: the next URL (or the same one anew) is asked too; 0: never.
    hedge_after: DurationOrZero = DurationOrZero(2)
    hedge_percent: int = 5  # of the requests may be such second ones; up to 10 are saved up
    hold: Duration = Duration(20)  # a skewed channel is retried so long, then 503; cargo waits 30 s
    releases: Releases = Releases()
    crates: Crates = Crates()
    index: Index = Index()


class Trust(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    release_key_file: str = ""
    release_key_fingerprints: tuple[str, ...] = (
        "108F66205EAEB0AAA8DD5E1C85AB96E6FA1BE5FE",
        "C13466B7E169A085188632165CB4A9347B3B09DC",
    )
    channel_manifest: str = "signature"  # or "digest": private dist trees, which nobody signs
    archive: str = "digest"  # or "signature": the .asc of every archive is checked as well
    unverified_ranges: str = "stream"  # or "wait"
    accept: tuple[str, ...] = ()  # exact releases of something held (mirror.acceptances)
    # Older releases may lack a signature that can be verified: SHA-1 was used until 2018.
    legacy_before_date: str = "2019-01-01"  # of dated channels
    legacy_before_version: str = "1.32"  # of channels by version; 1.32.0 came in January 2019
    # Alarms: the newest manifest is older than this. Stable comes every 6 weeks, beta about weekly.
    stable_frozen_after: Duration = Duration(70 * 86400)
    beta_frozen_after: Duration = Duration(28 * 86400)
    nightly_frozen_after: Duration = Duration(4 * 86400)


class Freshness(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    channel: Duration = Duration(60)
    rustup: Duration = Duration(60)
    index: Duration = Duration(60)
    crate_check: Duration = Duration(60)  # index entry older: a hit is checked in the background
    crate_wait: Duration = Duration(600)  # older than this: a hit waits for the check
    negative: Duration = Duration(30)
    undated: Duration = Duration(7 * 86400)  # versioned but undated archives
    manifests: Duration = Duration(3600)  # manifests.txt: appended to about daily
    # A stale copy serves while it is revalidated: nobody waits, and news is at most 70 s old.
    stale_while_revalidate: DurationOrZero = DurationOrZero(10)
    # A copy serves while upstream is away: keeping on is what a mirror is for, so 10 years.
    stale_if_error: DurationOrZero = DurationOrZero(3650 * 86400)
    # Confirmed less than this ago: a client's no-cache is a hit. So often may clients ask upstream.
    client_floor: DurationOrZero = DurationOrZero(5)


class Log(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    access: str = ""  # the file of the access log; empty: none
    sample_one_in: int = 1  # of the requests that nothing was wrong with
    buffer: ByteSize = ByteSize(4 << 20)  # per process; what a slow disk leaves over it is dropped


class Accounting(
    Section, frozen=True, kw_only=True, forbid_unknown_fields=True, weakref=True
):  # weakref: accounting.configured keeps what was read for it
    groups: str = ""  # file: which clients belong together; empty: all are "other"
    prices: str = ""  # file: what upstream traffic costs; empty: the example that comes along
    minutes_kept: Duration = Duration(2 * 86400)  # for the dashboard
    hours_kept: Duration = Duration(90 * 86400)
    days_kept: Duration = Duration(10 * 365 * 86400)  # growth is told year on year
    top_objects: int = 100  # kept per day
    sampled_objects: int = 32768  # from which other disk sizes are judged; some 500 bytes each
    downloads: bool = False  # count served crate downloads per version, for `report downloads`


class Config(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    serve: Serve = Serve()
    control: Control = Control()
    store: Store = Store()
    state: State = State()
    scrub: Scrub = Scrub()
    limits: Limits = Limits()
    upstream: Upstream = Upstream()
    trust: Trust = Trust()
    freshness: Freshness = Freshness()
    log: Log = Log()
    accounting: Accounting = Accounting()
    origin: tuple[dict[str, object], ...] = ()  # not available in this version
