"""A day of continuous integration, as a plan: which runner asks for what, when, and how.

    dawn            noon                     midnight UTC
    |  nightly jobs | builds of office hours |      jobs of cron at full hours, each with its burst
    A job is what one runner does with one toolchain and one project: phases of requests, each phase
    when the one before has ended.

    job         asks for                                                      after
    install     .sha256, manifest, archives; then config.json, every index    rustup and cargo on a
                file of the lock file, every crate                            runner without caches
    warm        .sha256; config.json, index files conditionally               a runner with caches
    update      config.json, index files conditionally, the crates that       a bot that renews lock
                were renewed                                                  files
    audit       the index file of one crate after the other, once             a scan of everything
    resume      the rest of an archive                                        a killed rustup
    abandon     the beginning of an archive                                   a cancelled job
    probe       HEAD of an archive, rustup-init, what does not exist          people and scripts

Rules:
1. The same seed, catalogue and shape give the same plan.
2. Which crates a project has follows Zipf's law; so does which project a job builds.
3. A group of runners has its own share of jobs, of cold runners, and its own ways to connect.

Units: bytes; seconds of the day, `DAY_S` of them. Does not: ask (`ci_clients` does).
Runs in: benchmarks, tests.
"""

from __future__ import annotations

import bisect
import enum
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

DAY_S = 86_400
RUSTUP_AGENT = "rustup/1.29.0 (reqwest; rustls)"
CARGO_AGENT = "cargo/1.95.0 (f2d3ce0bd 2026-03-21)"
SCRIPT_AGENT = "curl/8.14.1"
_OFFICE_HOURS = (9, 17)  # of UTC; 2.5 times the traffic of the night
_CRON_SHARE = 0.2  # of the jobs begin within a minute of a full hour


class Transport(enum.Enum):
    """How a client connects."""

    PLAIN = "plaintext, HTTP/1.1"
    UPGRADE = "plaintext, HTTP/2 by upgrade"
    TLS = "TLS, HTTP/1.1"
    TLS_HTTP2 = "TLS, HTTP/2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One object that the mirror can be asked for."""

    target: str
    length_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CratePair:
    """One version of a crate, and the index file that lists it."""

    index: Item
    crate: Item


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """What rustup asks for to install one release of a channel."""

    digest: Item
    manifest: Item
    archives: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What there is; the first of each is asked for most."""

    crates: tuple[CratePair, ...]
    toolchains: tuple[Toolchain, ...]
    extras: tuple[Item, ...]  # what people and scripts fetch
    absent: tuple[str, ...]  # targets of what does not exist
    config: Item


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerGroup:
    """`transports` are taken with equal chance. `abandons`: its jobs may be cancelled half-way."""

    name: str
    share: float
    cold_ratio: float
    transports: tuple[Transport, ...] = (Transport.PLAIN,)
    abandons: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How big a day is. `crates_per_project` is the median; lock files hold up to 4 times that."""

    jobs: int
    groups: tuple[RunnerGroup, ...]
    projects: int = 40
    crates_per_project: int = 60
    zipf_exponent: float = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """`range_start` None: no Range. `abandon_after` None: the whole response is read."""

    item: Item
    method: str = "GET"
    agent: str = CARGO_AGENT
    is_conditional: bool = False
    range_start: int | None = None
    abandon_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """`keeps_connection` False: every request has a connection of its own, as rustup's have."""

    asks: tuple[Ask, ...]
    keeps_connection: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`group` and `runner` number who asks, from 0."""

    at_s: float
    kind: str
    group: int
    runner: int
    transport: Transport
    phases: tuple[Phase, ...]

    def asks(self) -> Iterator[Ask]:
        return itertools.chain.from_iterable(phase.asks for phase in self.phases)


def plan_day(catalogue: Catalogue, shape: Shape, *, seed: int) -> list[Job]:
    """Return the jobs of a day, in the order in which they begin."""
    return _Planner(catalogue, shape, random.Random(f"ci-{seed}")).jobs()


def references(jobs: Sequence[Job]) -> Iterator[Item]:
    """Yield the objects in the order of the plan, one after the other: a trace for a simulation."""
    for job in jobs:
        for ask in job.asks():
            if ask.method == "GET":
                yield ask.item


def invented_catalogue(*, crates: int, toolchains: int = 8, seed: int = 1) -> Catalogue:
    """Return a catalogue of objects that nobody has, with the sizes that real ones have.

    Crates are 40 KB in the median and 145 KB in the mean; archives of a release 100 MB together.
    """
    dice = random.Random(f"catalogue-{seed}")
    pairs = tuple(_invented_crate(dice, number) for number in range(crates))
    return Catalogue(
        crates=pairs,
        toolchains=tuple(_invented_toolchain(number) for number in range(toolchains)),
        extras=(Item(target="/rustup/rustup-init.sh", length_bytes=25_000),),
        absent=tuple(f"/crates/absent-{n}/absent-{n}-1.0.0.crate" for n in range(8)),
        config=Item(target="/index/config.json", length_bytes=80),
    )


def _invented_crate(dice: random.Random, number: int) -> CratePair:
    name = f"crate-{number:05d}"
    return CratePair(
        index=Item(target=f"/index/cr/at/{name}", length_bytes=int(dice.lognormvariate(8.5, 1.3))),
        crate=Item(
            target=f"/crates/{name}/{name}-1.0.0.crate",
            length_bytes=int(dice.lognormvariate(10.6, 1.6)) + 500,
        ),
    )


def _invented_toolchain(number: int) -> Toolchain:
    head = f"/dist/channel-rust-1.{90 + number}.toml"
    sizes = {"cargo": 10, "rust-std": 26, "rustc": 62}  # MB
    return Toolchain(
        digest=Item(target=f"{head}.sha256", length_bytes=90),
        manifest=Item(target=head, length_bytes=980_000),
        archives=tuple(
            Item(target=f"/dist/d{number}/{name}.tar.xz", length_bytes=size * 10**6)
            for name, size in sizes.items()
        ),
    )


class _Zipf:
    """Numbers below `count`, the n-th in proportion to 1 / n ** exponent."""

    def __init__(self, count: int, exponent: float) -> None:
        weights = (1 / (rank**exponent) for rank in range(1, count + 1))
        self._bounds = list(itertools.accumulate(weights))

    def draw(self, dice: random.Random) -> int:
        return bisect.bisect_left(self._bounds, dice.random() * self._bounds[-1])


class _Planner:
    def __init__(self, catalogue: Catalogue, shape: Shape, dice: random.Random) -> None:
        self._catalogue = catalogue
        self._shape = shape
        self._dice = dice
        self._crates = _Zipf(len(catalogue.crates), shape.zipf_exponent)
        self._toolchains = _Zipf(len(catalogue.toolchains), 1.5)
        self._projects = _Zipf(shape.projects, 1.0)
        self._locks = [self._lock_file() for _ in range(shape.projects)]
        self._runners = itertools.count()

    def jobs(self) -> list[Job]:
        found = [self._job(at_s) for at_s in self._times()]
        audit_at = 3 * 3600.0
        found.append(self._placed(audit_at, "audit", (self._audit(),)))
        return sorted(found, key=lambda job: job.at_s)

    def _times(self) -> Iterator[float]:
        begin, end = (hour * 3600 for hour in _OFFICE_HOURS)
        for _ in range(self._shape.jobs):
            if self._dice.random() < _CRON_SHARE:
                yield self._dice.randrange(24) * 3600 + self._dice.uniform(0, 60)
                continue
            at_s = self._dice.uniform(0, DAY_S)
            is_quiet = not begin <= at_s < end
            # Of what falls into the night, three in five are built at day instead.
            yield self._dice.uniform(begin, end) if is_quiet and self._dice.random() < 0.6 else at_s

    def _job(self, at_s: float) -> Job:
        chance = self._dice.random()
        if chance < 0.04:
            return self._placed(at_s, "resume", (self._resume(),))
        if chance < 0.08 and any(group.abandons for group in self._shape.groups):
            group = self._group(abandons=True)
            return self._placed(at_s, "abandon", (self._abandon(),), group)
        if chance < 0.14:
            return self._placed(at_s, "probe", (self._probe(),))
        lock = self._locks[self._projects.draw(self._dice)]
        if chance < 0.24:
            return self._placed(at_s, "update", self._update(lock))
        group = self._group()
        if self._dice.random() < self._shape.groups[group].cold_ratio:
            return self._placed(at_s, "install", self._install(lock), group)
        return self._placed(at_s, "warm", self._warm(lock), group)

    def _placed(
        self, at_s: float, kind: str, phases: tuple[Phase, ...], group: int | None = None
    ) -> Job:
        chosen = self._group() if group is None else group
        return Job(
            at_s=at_s,
            kind=kind,
            group=chosen,
            runner=next(self._runners),
            transport=self._dice.choice(self._shape.groups[chosen].transports),
            phases=phases,
        )

    def _group(self, *, abandons: bool = False) -> int:
        groups = self._shape.groups
        shares = [group.share if group.abandons or not abandons else 0.0 for group in groups]
        return self._dice.choices(range(len(shares)), shares)[0]

    def _lock_file(self) -> list[CratePair]:
        median = self._shape.crates_per_project
        wanted = round(self._dice.lognormvariate(math.log(median), 0.6))
        most = min(4 * median, len(self._catalogue.crates) // 2)
        chosen: set[int] = set()
        while len(chosen) < max(1, min(wanted, most)):
            chosen.add(self._crates.draw(self._dice))
        return [self._catalogue.crates[number] for number in sorted(chosen)]

    # The phases of each kind of job.

    def _toolchain(self) -> Toolchain:
        return self._catalogue.toolchains[self._toolchains.draw(self._dice)]

    def _install(self, lock: list[CratePair]) -> tuple[Phase, ...]:
        toolchain = self._toolchain()
        return (
            _rustup(toolchain.digest),
            _rustup(toolchain.manifest),
            _rustup(*toolchain.archives),
            _cargo(Ask(item=self._catalogue.config)),
            _cargo(*(Ask(item=pair.index) for pair in lock)),
            _cargo(*(Ask(item=pair.crate) for pair in lock)),
        )

    def _warm(self, lock: list[CratePair]) -> tuple[Phase, ...]:
        return (
            _rustup(self._toolchain().digest),
            _cargo(Ask(item=self._catalogue.config)),
            _cargo(*(Ask(item=pair.index, is_conditional=True) for pair in lock)),
        )

    def _update(self, lock: list[CratePair]) -> tuple[Phase, ...]:
        renewed = [pair for pair in lock if self._dice.random() < 0.1]
        return (*self._warm(lock)[1:], _cargo(*(Ask(item=pair.crate) for pair in renewed)))

    def _audit(self) -> Phase:
        return _cargo(*(Ask(item=pair.index) for pair in self._catalogue.crates))

    def _resume(self) -> Phase:
        item = self._archive()
        start = self._dice.randrange(1, item.length_bytes)
        return Phase(asks=(Ask(item=item, agent=RUSTUP_AGENT, range_start=start),))

    def _abandon(self) -> Phase:
        item = self._archive()
        after = self._dice.randrange(item.length_bytes // 4)
        ask = Ask(item=item, agent=RUSTUP_AGENT, abandon_after=after)
        return Phase(asks=(ask,), keeps_connection=False)

    def _archive(self) -> Item:
        return self._dice.choice(self._toolchain().archives)

    def _probe(self) -> Phase:
        absent = Item(target=self._dice.choice(self._catalogue.absent), length_bytes=0)
        return Phase(
            asks=(
                Ask(item=self._archive(), method="HEAD", agent=SCRIPT_AGENT),
                *(Ask(item=item, agent=SCRIPT_AGENT) for item in self._catalogue.extras),
                Ask(item=absent),
            ),
        )


def _rustup(*items: Item) -> Phase:
    asks = tuple(Ask(item=item, agent=RUSTUP_AGENT) for item in items)
    return Phase(asks=asks, keeps_connection=False)


def _cargo(*asks: Ask) -> Phase:
    return Phase(asks=asks)
