"""The traces that eviction is judged by have the traits that they are named for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from benchmarks.ci_traces import BUILDS, SHAPES, CiShape, CiTrace, trace_of
from benchmarks.ci_traffic import DAY_S

SMALL = CiShape(
    name="small", days=3, jobs_per_day=30, projects=8, crates=300, crates_per_project=20
)


def _bytes_of(trace: CiTrace, prefix: str) -> int:
    pairs = zip(trace.asks, trace.content_bytes, strict=True)
    return sum(sent for number, sent in pairs if trace.keys[number].startswith(prefix))


def test_a_trace_is_a_function_of_shape_and_seed() -> None:
    assert trace_of(SMALL, 1) == trace_of(SMALL, 1)
    assert trace_of(SMALL, 1).asks != trace_of(SMALL, 2).asks


def test_requests_are_in_order_of_time_and_jobs_interleave() -> None:
    trace = trace_of(replace(SMALL, days=1, jobs_per_day=2000), 1)
    assert list(trace.times_s) == sorted(trace.times_s)
    # A job asks each 25 ms; two requests closer than that are of two jobs.
    assert sum(0 < after - before < 0.02 for before, after in pairwise(trace.times_s)) > 100


def test_every_object_has_one_length_and_one_key() -> None:
    trace = trace_of(SMALL, 1)
    assert len(set(trace.keys)) == len(trace.keys) == len(trace.lengths)
    lengths = trace.lengths
    pairs = zip(trace.asks, trace.content_bytes, strict=True)
    assert all(sent in {0, lengths[number]} for number, sent in pairs)


def test_a_nightly_is_asked_for_on_its_day_only() -> None:
    trace = trace_of(replace(SMALL, nightly_share=0.9), 1)
    days: dict[str, set[int]] = {}
    for number, at_s in zip(trace.asks, trace.times_s, strict=True):
        key = trace.keys[number]
        if "nightly" in key:
            days.setdefault(key.split("/")[2], set()).add(int(at_s // DAY_S))
    assert days == {f"nightly-{day}": {day} for day in range(SMALL.days)}


def test_new_versions_displace_former_ones_once_lock_files_are_renewed() -> None:
    trace = trace_of(replace(SMALL, new_versions_per_day=1.0, renewals_per_day=1.0), 1)
    days: dict[str, set[int]] = {}
    for number, at_s in zip(trace.asks, trace.times_s, strict=True):
        key = trace.keys[number]
        if not key.startswith("releases:"):
            days.setdefault(key.rpartition("@")[2], set()).add(int(at_s // DAY_S))
    assert days == {"1": {0}, "2": {1}, "3": {2}}


def test_a_crawl_asks_for_every_crate_once_and_a_fill_for_every_archive_too() -> None:
    without = Counter(trace_of(replace(SMALL, jobs_per_day=0), 1).asks)
    crawled = trace_of(replace(SMALL, jobs_per_day=0, crawls=(1,)), 1)
    filled = trace_of(replace(SMALL, jobs_per_day=0, fills=(1,)), 1)
    assert not without
    assert set(Counter(crawled.asks).values()) == {1}
    assert len(crawled.asks) == 2 * SMALL.crates
    assert len(filled.asks) == 2 * SMALL.crates + 8 * 8 * SMALL.hosts


def test_popular_crates_take_the_share_that_zipf_gives_them() -> None:
    trace = trace_of(SMALL, 1)
    counts = Counter(n for n in trace.asks if trace.keys[n].startswith("crates:"))
    ranked = [count for _, count in counts.most_common()]
    assert sum(ranked[: len(ranked) // 10]) > 0.25 * sum(ranked)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_every_shape_has_crates_index_files_and_archives(shape: CiShape) -> None:
    few = replace(shape, days=2, jobs_per_day=100)
    trace = trace_of(few, 1)
    assert all(_bytes_of(trace, prefix) for prefix in ("crates:", "index:", "releases:"))
    assert 0 in trace.content_bytes  # answered 304


def test_one_of_the_shapes_has_scans_and_is_otherwise_builds() -> None:
    scanned = [shape for shape in SHAPES if shape.crawls or shape.fills]
    assert [replace(s, name="builds", crawls=(), fills=()) for s in scanned] == [BUILDS]
