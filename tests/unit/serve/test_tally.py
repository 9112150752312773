"""`mirror.serve.tally`: whatever the order of hits, settles and new heads, nothing is lost."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mirror.route.match import Site, match
from mirror.route.route import Route
from mirror.serve.hot_entry import HitRows, Rendering
from mirror.serve.tally import Sums, Tally


def route_of(number: int) -> Route:
    route = match(f"/index/se/rd/serde{number}".encode(), Site.ANY)
    assert isinstance(route, Route)
    return route


def render(number: int, head_bytes: int) -> Rendering:
    """Object `number` has 30,000 bytes times its number."""
    content_bytes = number * 30_000
    heads = b"h" * head_bytes, b"h" * (head_bytes - 50)
    return Rendering(route_of(number), content_bytes, content_bytes, "hit", heads)


_STEPS = st.lists(
    st.tuples(st.sampled_from(("hit", "304", "settle", "render", "tell")), st.integers(0, 3)),
    max_size=80,
)


@given(_STEPS)
def test_settles_sum_up_to_what_was_answered_with_the_lengths_of_then(
    steps: list[tuple[str, int]],
) -> None:
    renderings = [render(number, 200) for number in range(4)]
    tally = Tally(0, 0, HitRows(0, 0, 0))
    settled: list[Sums] = []
    answered: Counter[str] = Counter()
    wanted: Counter[tuple[str, bool]] = Counter()
    told: Counter[tuple[str, bool]] = Counter()

    def tell() -> None:
        settled.append(tally.settle())
        for each, count, whole in tally.take_all():
            told[each.route.key, True] += whole
            told[each.route.key, False] += count - whole

    for step, number in steps:
        rendering = renderings[number]
        if step in ("hit", "304"):
            is_whole = step == "hit"
            (tally.whole if is_whole else tally.not_modified).append(rendering)
            wanted[rendering.route.key, is_whole] += 1
            answered["requests"] += 1
            answered["content_bytes"] += rendering.content_bytes * is_whole
            answered["head_bytes"] += rendering.head_bytes - 50 * (not is_whole)
            answered["not_modified"] += not is_whole
        elif step == "settle":
            settled.append(tally.settle())
        elif step == "render":
            renderings[number] = render(number, rendering.head_bytes + number + 1)
        else:
            tell()
    tell()
    sums = Sums(*map(sum, zip(*settled, strict=True)))
    assert sums == tuple(answered[name] for name in Sums._fields)
    assert +told == +wanted
    assert tally.settle() == Sums(0, 0, 0, 0)


def test_sums_hold_for_more_answers_than_a_window_can_have() -> None:
    tally = Tally(0, 0, HitRows(0, 0, 0))
    tally.whole += [render(2, 4096)] * 500_000
    assert tally.settle() == Sums(500_000, 500_000 * 60_000, 500_000 * 4096, 0)


def test_settling_closes() -> None:
    tally = Tally(1, 48, HitRows(0, 0, 0))
    tally.is_open = True
    tally.settle()
    assert repr(tally) == "<Tally of group 1, closed, 0 answers>"
