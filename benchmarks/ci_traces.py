"""Days of requests as continuous integration makes them, for judging eviction.

    job      asks for                                                     share
    cold     the archives of its toolchain; every index file and every    `cold_share`
             crate of its project's lock file
    warm     the index files, most of them answered 304; few crates       the rest
    crawl    every crate that there is, once                              on days of `crawls`
    fill     the same, and every archive: a mirror filled from this one   on days of `fills`

    Each day: one more nightly, which nobody asks for the day after but by date; of some crates one
    more version, with an index file that says so; some projects renew their lock files.

Rules:
1. A trace is a function of its shape and seed alone.
2. Jobs run beside each other: their requests interleave by time.
3. Which crates a lock file names follows Zipf's law over the crates; so does which project a job
   builds. A project keeps its versions until it renews its lock file.
4. A scan comes between the jobs, as fast as one connection asks.

What it leaves out: freshness (an index file asked for again is the same object until a version is
added), and resumed and cancelled downloads.

Units: bytes, seconds.
Does not: know a policy, touch network or disk.
Runs in: benchmarks and tests.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.ci_traffic import DAY_S

SEEDS = (1, 2, 3)
_RELEASES = 8  # stable ones that somebody still builds with
_RELEASE_EXPONENT = 1.5
# Archives of one host in MB, as rustup asks for them: rustc, rust-std, cargo, clippy, rustfmt,
# llvm-tools, rust-src, rust-docs.
_ARCHIVES_MB = (66.0, 27.0, 9.5, 3.8, 2.2, 34.0, 3.1, 20.0)
_MINIMAL = 3  # of them; the profile of four jobs in five
_REQUESTS_PER_S = 40.0  # of a job
_SCAN_REQUESTS_PER_S = 100.0
_NOT_MODIFIED = 2 / 3  # of a warm runner's index files
_RENEWED = 0.04  # of a warm runner's crates


@dataclass(frozen=True, slots=True, kw_only=True)
class CiShape:
    """How a site works. `crates_per_project` is the median. `toolchain_share`: of cold jobs, those
    that install one (the others have it in their image). `nightly_share`: of those installed."""

    name: str
    days: int = 8
    jobs_per_day: int = 160
    projects: int = 50
    crates: int = 5000
    zipf: float = 0.9
    crates_per_project: int = 80
    cold_share: float = 0.5
    toolchain_share: float = 0.6
    nightly_share: float = 0.25
    hosts: int = 3
    new_versions_per_day: float = 0.02  # of the crates
    renewals_per_day: float = 0.1  # of the projects
    crawls: tuple[int, ...] = ()
    fills: tuple[int, ...] = ()


BUILDS = CiShape(name="builds")
SHAPES = (
    BUILDS,
    # Many projects with little in common.
    CiShape(name="flat", zipf=0.6, projects=160, crates=9000, jobs_per_day=150),
    # Toolchains change daily: what was hot yesterday is dead.
    CiShape(name="nightlies", nightly_share=0.8, toolchain_share=0.9, hosts=4, crates=3000),
    # Toolchains come with the image.
    CiShape(name="crates", toolchain_share=0.02, crates=9000, projects=80, jobs_per_day=150),
    # A small team that lives on its main branch, and bots that renew everything.
    CiShape(
        name="churn", projects=12, jobs_per_day=120, new_versions_per_day=0.1, renewals_per_day=0.5
    ),
    replace(BUILDS, name="scans", crawls=(2, 4, 6), fills=(5,)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CiTrace:
    """Requests in order: of object `asks[n]` at `times_s[n]`, with so much content sent.

    `keys` and `lengths` by object.
    """

    keys: Sequence[str]
    lengths: Sequence[int]
    asks: Sequence[int]
    times_s: Sequence[float]
    content_bytes: Sequence[int]

    def asked_lengths(self) -> list[int]:
        """Return the lengths of the objects that were asked for: the working set."""
        return [self.lengths[number] for number in sorted(set(self.asks))]


def trace_of(shape: CiShape, seed: int) -> CiTrace:
    return _Site(shape, random.Random(f"{shape.name}-{seed}")).trace()


@dataclass(slots=True)
class _Crate:
    """The objects that a crate has at present; `versions` of it were published."""

    crate: int
    index_file: int
    versions: int = 1


_Ask = tuple[float, int, int]  # time, object, content bytes


class _Site:
    def __init__(self, shape: CiShape, dice: random.Random) -> None:
        self._shape = shape
        self._dice = dice
        self._keys: list[str] = []
        self._lengths: list[int] = []
        self._crate_bounds = _bounds(shape.crates, shape.zipf)
        self._project_bounds = _bounds(shape.projects, 1.0)
        self._release_bounds = _bounds(_RELEASES, _RELEASE_EXPONENT)
        self._crates = [self._new_crate(number) for number in range(shape.crates)]
        self._releases = [
            [self._archives(f"1.{90 - age}.0", host) for host in range(shape.hosts)]
            for age in range(_RELEASES)
        ]
        self._named = [self._names() for _ in range(shape.projects)]
        self._locked = [self._lock(names) for names in self._named]

    def trace(self) -> CiTrace:
        asks: list[_Ask] = []
        for day in range(self._shape.days):
            asks += sorted(self._day(day))
        return CiTrace(
            keys=self._keys,
            lengths=self._lengths,
            asks=[number for _, number, _ in asks],
            times_s=[at_s for at_s, _, _ in asks],
            content_bytes=[content for _, _, content in asks],
        )

    def _day(self, day: int) -> Iterator[_Ask]:
        """Yield what is asked for in a day, in no order."""
        shape, dice = self._shape, self._dice
        if day:
            self._publish()
        nightly = [self._archives(f"nightly-{day}", host) for host in range(shape.hosts)]
        for _ in range(shape.jobs_per_day):
            # No job runs past midnight; the longest takes some minutes.
            at_s = (day + dice.uniform(0.0, 0.98)) * DAY_S
            yield from self._job(at_s, nightly)
        if day in shape.crawls:
            yield from self._scan((day + 0.4) * DAY_S, is_fill=False)
        if day in shape.fills:
            yield from self._scan((day + 0.6) * DAY_S, is_fill=True)

    def _publish(self) -> None:
        """New versions appear, and some projects take them."""
        shape, dice = self._shape, self._dice
        count = round(shape.new_versions_per_day * shape.crates)
        for crate in dice.sample(self._crates, count):
            crate.versions += 1
            name = self._keys[crate.crate].rpartition("@")[0]
            length = self._lengths[crate.crate]
            crate.crate = self._object(f"{name}@{crate.versions}", round(length * 1.02))
            listed = self._lengths[crate.index_file]
            name = self._keys[crate.index_file].rpartition("@")[0]
            crate.index_file = self._object(f"{name}@{crate.versions}", listed + 400)
        for project, names in enumerate(self._named):
            if dice.random() < shape.renewals_per_day:
                self._locked[project] = self._lock(names)

    def _job(self, at_s: float, nightly: Sequence[Sequence[int]]) -> Iterator[_Ask]:
        shape, dice = self._shape, self._dice
        project = dice.choices(range(shape.projects), cum_weights=self._project_bounds)[0]
        if dice.random() < shape.cold_share:
            archives = self._installed(nightly) if dice.random() < shape.toolchain_share else []
            files = [self._crates[name].index_file for name in self._named[project]]
            wanted = [*archives, *files, *self._locked[project]]
            asks = iter([(number, self._lengths[number]) for number in wanted])
        else:
            asks = self._warm(project)
        yield from _timed(at_s, asks, _REQUESTS_PER_S)

    def _installed(self, nightly: Sequence[Sequence[int]]) -> Sequence[int]:
        shape, dice = self._shape, self._dice
        host = min(int(dice.expovariate(1.2)), shape.hosts - 1)
        archives = nightly[host]
        if dice.random() >= shape.nightly_share:
            age = dice.choices(range(_RELEASES), cum_weights=self._release_bounds)[0]
            archives = self._releases[age][host]
        return archives[:_MINIMAL] if dice.random() < 0.8 else archives

    def _warm(self, project: int) -> Iterator[tuple[int, int]]:
        dice = self._dice
        for name in self._named[project]:
            number = self._crates[name].index_file
            yield number, 0 if dice.random() < _NOT_MODIFIED else self._lengths[number]
        for number in self._locked[project]:
            if dice.random() < _RENEWED:
                yield number, self._lengths[number]

    def _scan(self, at_s: float, *, is_fill: bool) -> Iterator[_Ask]:
        wanted = [number for crate in self._crates for number in (crate.index_file, crate.crate)]
        if is_fill:
            wanted += [number for hosts in self._releases for each in hosts for number in each]
        asks = ((number, self._lengths[number]) for number in wanted)
        return _timed(at_s, asks, _SCAN_REQUESTS_PER_S)

    # What there is.

    def _object(self, key: str, length: int) -> int:
        self._keys.append(key)
        self._lengths.append(length)
        return len(self._keys) - 1

    def _new_crate(self, number: int) -> _Crate:
        # 40 KB in the median, 145 KB in the mean: as the crates that are downloaded.
        length = int(self._dice.lognormvariate(10.6, 1.6)) + 500
        listed = int(self._dice.lognormvariate(8.5, 1.3)) + 200
        return _Crate(
            crate=self._object(f"crates:/crates/c{number}@1", length),
            index_file=self._object(f"index:/c{number}@1", listed),
        )

    def _archives(self, release: str, host: int) -> list[int]:
        return [
            self._object(
                f"releases:/dist/{release}/{part}-{host}.tar.xz",
                int(size_mb * 1e6 * self._dice.uniform(0.95, 1.05)),
            )
            for part, size_mb in enumerate(_ARCHIVES_MB)
        ]

    def _names(self) -> list[int]:
        """Return the crates of a project, by number."""
        median = self._shape.crates_per_project
        drawn = round(self._dice.lognormvariate(math.log(median), 0.6))
        wanted = max(1, min(drawn, 4 * median, self._shape.crates // 2))
        names: set[int] = set()
        while len(names) < wanted:
            names.update(
                self._dice.choices(
                    range(self._shape.crates),
                    cum_weights=self._crate_bounds,
                    k=wanted - len(names),
                )
            )
        return sorted(names)

    def _lock(self, names: Iterable[int]) -> list[int]:
        return [self._crates[name].crate for name in names]


def _timed(at_s: float, asks: Iterable[tuple[int, int]], per_s: float) -> Iterator[_Ask]:
    for count, (number, content_bytes) in enumerate(asks):
        yield at_s + count / per_s, number, content_bytes


def _bounds(count: int, exponent: float) -> list[float]:
    """Return the cumulated weights of ranks by Zipf's law."""
    return list(itertools.accumulate(1 / rank**exponent for rank in range(1, count + 1)))
