"""Requests as CI runners make them, for judging the miss-ratio curve; and the exact answer.

Rules:
1. A trace is a function of its `TraceShape` and seed alone.
2. Crates and index files are asked for by Zipf's law, by their job's share; toolchain archives are
   few, large and asked for by every job, and each day's nightly displaces the former one.
3. A scan asks for every crate once, in order, at the given points of the trace: a crawler, or a
   mirror that is filled from this one.
4. The exact simulation knows every object, at every size, through the same policy.

Units: bytes.
Does not: touch network or disk.
Runs in: benchmarks and tests.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.eviction_replay import ReplayedBlob
from mirror.accounting.by_rank import ByRank
from mirror.accounting.curve import Curve, CurveModel
from mirror.accounting.history import CurvePoint
from mirror.accounting.uses import LeftOut, Use
from mirror.store.budget import footprint
from mirror.store.eviction import ONE_USE_MS
from mirror.store.ranks_in_memory import ranks_in_force

USES_PER_MESSAGE = 256
REQUEST_MS = 1000  # between two requests; a message comes when it is full
_ARCHIVES_PER_DAY = 24  # of one nightly: components for two hosts
_NOBODY = LeftOut()


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceShape:
    name: str
    requests: int = 200_000
    crates: int = 20_000
    zipf: float = 0.9
    archive_share: float = 0.02
    index_share: float = 0.4
    days: int = 5
    scans: tuple[float, ...] = ()  # where, as a part of the trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """Keys with their lengths."""

    crates: Sequence[tuple[str, int]]
    index_files: Sequence[tuple[str, int]]
    archives: Sequence[Sequence[tuple[str, int]]]  # by day; the first is the stable release

    def footprint_bytes(self) -> int:
        everything = itertools.chain(self.crates, self.index_files, *self.archives)
        return sum(footprint(length) for _, length in everything)


def objects_of(shape: TraceShape, rng: random.Random) -> Objects:
    def lengths(median_bytes: int, spread: float) -> Iterator[int]:
        while True:
            yield int(median_bytes * rng.lognormvariate(0.0, spread)) + 200

    crates = [
        (f"crates:/crates/c{n}/c{n}-1.{n % 7}.0.crate", length)
        for n, length in zip(range(shape.crates), lengths(30_000, 1.4), strict=False)
    ]
    index_files = [
        (f"index:/{n % 97}/c{n}", length)
        for n, length in zip(range(shape.crates // 2), lengths(4_000, 1.0), strict=False)
    ]
    archives = [
        [
            (f"releases:/dist/{day}/part{n}.tar.xz", length)
            for n, length in zip(range(_ARCHIVES_PER_DAY), lengths(12_000_000, 1.2), strict=False)
        ]
        for day in range(shape.days + 1)
    ]
    for kind in (crates, index_files):
        rng.shuffle(kind)  # popularity has nothing to do with length or name
    return Objects(crates=crates, index_files=index_files, archives=archives)


def trace_of(shape: TraceShape, seed: int) -> tuple[list[Use], int]:
    """Return the requests in order, one by one, and what all their objects take of a store."""
    rng = random.Random(seed)
    objects = objects_of(shape, rng)
    crate_ranks = _Ranks(len(objects.crates), shape.zipf, rng)
    index_ranks = _Ranks(len(objects.index_files), shape.zipf, rng)
    scan_at = {int(part * shape.requests) for part in shape.scans}
    uses: list[Use] = []
    for at in range(shape.requests):
        if at in scan_at:
            uses += [_use(*crate) for crate in sorted(objects.crates)]
        draw = rng.random()
        if draw < shape.archive_share:
            day = 0 if rng.random() < 0.4 else 1 + at * shape.days // shape.requests
            uses.append(_use(*rng.choice(objects.archives[day])))
        elif draw < shape.archive_share + shape.index_share:
            key, length = objects.index_files[index_ranks.draw()]
            # Two of three are answered 304: a request that carries no content.
            uses.append(_use(key, length, 0 if rng.random() < 2 / 3 else length))
        else:
            uses.append(_use(*objects.crates[crate_ranks.draw()]))
    return uses, objects.footprint_bytes()


def sampled_curve(
    uses: Sequence[Use], sizes: Iterable[int], sampled_objects: int
) -> tuple[list[CurvePoint], Curve]:
    curve = Curve(
        CurveModel(policy=ranks_in_force, footprint=footprint, sampled_objects=sampled_objects),
        sizes,
    )
    for at in range(0, len(uses), USES_PER_MESSAGE):
        curve.used(uses[at : at + USES_PER_MESSAGE], _NOBODY, time_ms(at))
    return curve.points(), curve


def exact_curve(uses: Sequence[Use], sizes: Iterable[int]) -> list[CurvePoint]:
    """Every object in a store of its true size: plain, and written apart from what it judges."""
    return [_exact_point(uses, size) for size in sorted(sizes)]


def largest_difference(first: Sequence[CurvePoint], second: Sequence[CurvePoint]) -> float:
    """In points, of both ratios at all sizes."""
    return max(
        100 * abs(a - b)
        for one, other in zip(first, second, strict=True)
        for a, b in (
            (one.byte_hit_ratio, other.byte_hit_ratio),
            (one.request_hit_ratio, other.request_hit_ratio),
        )
    )


def _exact_point(uses: Sequence[Use], size_bytes: int) -> CurvePoint:
    ranks = ranks_in_force()
    store: dict[str, ReplayedBlob] = {}
    order: ByRank[ReplayedBlob] = ByRank()
    used_bytes = hits = hit_bytes = 0
    for at, use in enumerate(uses):
        blob, now_ms = store.get(use.key), time_ms(at)
        if blob is not None:
            hits += 1
            hit_bytes += use.content_bytes
            if now_ms - blob.used_at_ms >= ONE_USE_MS:
                order.take(blob)
                blob.rank_ms = ranks.rank_of_use(blob.rank_ms, now_ms)
                blob.used_at_ms, blob.is_on_probation = now_ms, False
                order.put(blob)
            continue
        cost = footprint(use.length_bytes)
        if cost > size_bytes:
            continue
        needed = used_bytes + cost - size_bytes
        if needed > 0:
            victims = ranks.choose_victims(order, needed)
            if not victims:
                continue
            for victim in victims:
                used_bytes -= victim.freed_bytes
                order.take(victim)
                del store[victim.digest.decode()]
            ranks.gone(victims, len(store))
        rank_ms, is_new = ranks.place(use.key.encode(), cost / size_bytes, now_ms)
        store[use.key] = ReplayedBlob(
            digest=use.key.encode(), freed_bytes=cost, used_at_ms=now_ms, rank_ms=rank_ms,
            is_on_probation=is_new,
        )  # fmt: skip
        order.put(store[use.key])
        used_bytes += cost
    return CurvePoint(
        store_bytes=size_bytes,
        byte_hit_ratio=hit_bytes / sum(use.content_bytes for use in uses),
        request_hit_ratio=hits / len(uses),
    )


def time_ms(at: int) -> int:
    """Return when the message arrives that tells of the request at this place."""
    return (1_000_000 + at - at % USES_PER_MESSAGE) * REQUEST_MS


class _Ranks:
    """Draws ranks by Zipf's law."""

    def __init__(self, count: int, exponent: float, rng: random.Random) -> None:
        self._rng = rng
        self._cumulated = list(
            itertools.accumulate(1 / rank**exponent for rank in range(1, count + 1))
        )

    def draw(self) -> int:
        at = self._rng.random() * self._cumulated[-1]
        return bisect.bisect_left(self._cumulated, at)


def _use(key: str, length_bytes: int, content_bytes: int = -1) -> Use:
    return Use(
        key=key,
        requests=1,
        content_bytes=length_bytes if content_bytes < 0 else content_bytes,
        downloads=0,
        length_bytes=length_bytes,
    )
