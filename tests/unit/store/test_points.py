"""A process that dies at a crash point: what the next start makes of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mirror.store import points
from mirror.store.points import Point
from mirror.store.store import Store
from tests.faults.files import DeadProcessError, FaultFiles
from tests.unit.store.bench import Bench, end_process
from tests.unit.store.steps import (
    BEFORE,
    STEPS,
    Step,
    check_accounts,
    check_blobs,
    check_state,
    prepare,
)

# Which points each operation passes: a point that nothing passes is no crash point.
PASSED = {
    "publish": ("fill.begun", "fill.landing", "fill.noted", "fill.landed", "publish.announced",
                "publish.renamed", "publish.synced", "publish.headed", "publish.committed",
                "publish.told"),
    "switch-generation": ("publish.announced", "publish.renamed", "publish.synced",
                          "publish.headed", "publish.committed", "publish.told"),
    "code": ("publish.announced", "publish.renamed", "publish.synced", "publish.committed"),
    "refresh": ("record.headed", "record.committed"),
    "become-absent": ("record.headed", "record.committed"),
    "withdraw": ("purge.beheaded", "purge.committed", "purge.told"),
    "evict": ("evict.committed", "evict.unlinked", "evict.forgotten"),
    "quarantine": ("fill.begun", "fill.landing", "quarantine.reasoned", "quarantine.moved"),
    "condemn": ("quarantine.dropped", "quarantine.reasoned", "quarantine.moved"),
}  # fmt: skip
CASES = [(name, Point(point)) for name, passed in PASSED.items() for point in passed]
BUDGET_BYTES = 256 * 1024


def _condemn(store: Store) -> None:
    """Somebody writes into a blob, and somebody asks for it."""
    stored = store.lookup("crate")
    if stored is not None:
        with open(store.blob_path(stored.entry.digest), "r+b") as file:
            file.write(b"X")
        assert store.attest(stored) is None


CONDEMN = Step(run=_condemn, expected={key: body for key, body in BEFORE.items() if key != "crate"})


@pytest.fixture
def narrow(bench: Bench) -> Iterator[Bench]:
    made = Bench(f"{bench.root}/narrow", budget_bytes=BUDGET_BYTES)
    yield made
    made.page.close()


def test_every_point_is_passed_by_some_operation() -> None:
    assert {point for _, point in CASES} == set(Point)


@pytest.mark.parametrize(
    ("name", "point"), [pytest.param(n, p, id=f"{n}-{p.value}") for n, p in CASES]
)
def test_death_at_a_point_leaves_the_old_state_or_the_new_one(
    narrow: Bench, monkeypatch: pytest.MonkeyPatch, name: str, point: Point
) -> None:
    step = CONDEMN if name == "condemn" else STEPS[name]
    store = narrow.open()
    prepare(store)
    store.close()
    files = FaultFiles()
    dying = narrow.open(files)
    fired: list[Point] = []

    def die(at: Point) -> None:
        if at is point and not fired:
            fired.append(at)
            files.bury()  # whatever the dying stack still does, the disk does not see it
            raise DeadProcessError

    monkeypatch.setattr(points, "on_passed", die)
    with pytest.raises(DeadProcessError):
        step.run(dying)
    del dying
    end_process(None, files)
    assert fired == [point]
    check_state(narrow, step)
    again = narrow.open()
    check_state(narrow, step)
    check_accounts(narrow, again)
    step.run(again)
    assert dict(check_state(narrow, step)) == dict(step.expected)
    check_accounts(narrow, again)
    check_blobs(narrow)
    again.close()
