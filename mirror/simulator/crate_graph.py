"""The crates of the simulated registry: names, versions and who depends on whom.

Rules:
1. Deterministic from the seed; dependencies point from lower to higher numbers, so there are no
   cycles.
2. `harvest` is the root of a tree of `TREE_CRATES` crates, among them every unusual name.
3. Sizes: index files from about 200 bytes (`q`) to over 100 KB (`chronicle`), crates from under
   1 KB to 2 MB (`heavy`).

Runs in: simulator.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from mirror.simulator.contents import KeyedContent
from mirror.simulator.crate_package import Dependency, PackageSpec

ROOT = "harvest"
PLUS_VERSION = "1.0.0+build.5"
YANKED_CRATE, YANKED_VERSION = "fading", "1.1.0"
DELETABLE_CRATE = "vanishing"
SMALLEST_CRATE = "q"
BIG_INDEX_CRATE, BIG_INDEX_VERSIONS = "chronicle", 420
HEAVY_CRATE, HEAVY_BYTES = "heavy", 2 << 20
TREE_CRATES = 130
_ALL_CRATES = 330

# Members of the tree with something special about them, in the places 1..n below the root.
_SPECIAL = (
    "io", "rgb", "MixedCase", "Under_Score", "plusmeta", YANKED_CRATE, BIG_INDEX_CRATE,
    HEAVY_CRATE, "optional-parts", "windows-only", "x9",
)  # fmt: skip
_FIRST = (
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "hazel", "ivory", "jade",
    "kelp", "lumen", "maple", "nova", "onyx", "pearl", "quartz", "raven", "slate", "terra",
)  # fmt: skip
_SECOND = (
    "codec", "core", "derive", "frame", "graph", "hash", "index", "json", "lattice", "macros",
    "parse", "pool", "queue", "sync", "table", "text", "utils", "wire",
)  # fmt: skip


def first_crates(seed: int) -> Iterator[PackageSpec]:
    """Yield every version of every crate of the first registry, oldest version first."""
    rng = random.Random(f"crates-{seed}")
    names = _names(rng)
    for number, name in enumerate(names):
        dependencies = _dependencies(rng, number, names)
        yield from _versions(rng, seed, name, dependencies)
    yield PackageSpec(name=DELETABLE_CRATE, version="1.0.0")
    yield PackageSpec(name=DELETABLE_CRATE, version="1.0.1")


def _names(rng: random.Random) -> list[str]:
    pairs = [f"{first}-{second}" for first in _FIRST for second in _SECOND]
    rng.shuffle(pairs)
    ordinary = iter(pairs)
    names = [ROOT, *_SPECIAL] + [next(ordinary) for _ in range(_ALL_CRATES - len(_SPECIAL) - 2)]
    # The last place of the tree is a leaf: one version, no dependencies, the smallest index file.
    names.insert(TREE_CRATES - 1, SMALLEST_CRATE)
    return names


def _dependencies(rng: random.Random, number: int, names: list[str]) -> list[Dependency]:
    """Return three children in a ternary tree, and now and then one crate further down."""
    end = TREE_CRATES if number < TREE_CRATES else len(names)
    if number < TREE_CRATES:
        chosen = [3 * number + step for step in (1, 2, 3)]
        if rng.random() < 0.3:
            chosen.append(rng.randrange(number + 1, end + 1))
    else:
        chosen = [number + rng.randrange(1, 40) for _ in range(rng.randrange(3))]
    children = [names[child] for child in dict.fromkeys(chosen) if child < end]
    dependencies = [Dependency(name=child) for child in children]
    if names[number] == "optional-parts":
        dependencies.append(Dependency(name=names[TREE_CRATES], optional=True))
    if names[number] == "windows-only":
        dependencies.append(Dependency(name=names[TREE_CRATES - 2], target="cfg(windows)"))
    return dependencies


def _versions(
    rng: random.Random, seed: int, name: str, dependencies: list[Dependency]
) -> Iterator[PackageSpec]:
    if name == BIG_INDEX_CRATE:
        for minor in range(BIG_INDEX_VERSIONS - 1):
            yield PackageSpec(name=name, version=f"0.{minor}.0", dependencies=dependencies[:1])
    elif name != SMALLEST_CRATE:
        for minor in range(rng.randrange(4)):
            yield PackageSpec(name=name, version=f"0.{minor}.0")
    version = PLUS_VERSION if name == "plusmeta" else "1.0.0"
    length = HEAVY_BYTES if name == HEAVY_CRATE else int(2 ** rng.uniform(8, 16))
    payload = b"" if name == SMALLEST_CRATE else KeyedContent(seed, name, length).read(0, length)
    yield PackageSpec(name=name, version=version, dependencies=dependencies, payload=payload)
    if name == YANKED_CRATE:
        yield PackageSpec(name=name, version=YANKED_VERSION, dependencies=dependencies)
