from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import Any

import pytest

from mirror.simulator.crate_graph import (
    BIG_INDEX_CRATE,
    DELETABLE_CRATE,
    HEAVY_CRATE,
    ROOT,
    SMALLEST_CRATE,
    YANKED_CRATE,
    first_crates,
)
from mirror.simulator.crate_package import Dependency, PackageSpec
from mirror.simulator.published import Shelf
from mirror.simulator.registry import Registry, crate_path, index_path


class Filled:
    def __init__(self) -> None:
        self.crates, self.index = Shelf(), Shelf()
        self.registry = Registry(self.crates, self.index)
        self.registry.publish(first_crates(1), 1000)

    def lines(self, name: str) -> list[dict[str, Any]]:
        published = self.index.find(index_path(name))
        assert published is not None, name
        text = published.content.read(0, published.content.length)
        return [json.loads(line) for line in text.splitlines()]

    def crate(self, name: str, version: str) -> bytes:
        published = self.crates.find(crate_path(name, version))
        assert published is not None, name
        return published.content.read(0, published.content.length)


@pytest.fixture(scope="module")
def filled() -> Filled:
    return Filled()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("q", "/1/q"),
        ("io", "/2/io"),
        ("rgb", "/3/r/rgb"),
        ("RGB", "/3/r/rgb"),
        ("serde", "/se/rd/serde"),
        ("MixedCase", "/mi/xe/mixedcase"),
    ],
)
def test_index_path_has_the_prefix_folders_of_the_lower_cased_name(name: str, path: str) -> None:
    assert index_path(name) == path


def test_registry_is_big_and_the_root_has_a_hundred_dependencies(filled: Filled) -> None:
    assert len(filled.registry) >= 300
    assert len(filled.registry.closure(ROOT)) > 100


def test_unusual_names_are_part_of_the_root_s_tree(filled: Filled) -> None:
    unusual = {"q", "io", "rgb", "MixedCase", "Under_Score", "plusmeta", YANKED_CRATE}
    assert unusual <= set(filled.registry.closure(ROOT))


def test_index_files_range_from_small_to_large(filled: Filled) -> None:
    small = filled.index.find(index_path(SMALLEST_CRATE))
    large = filled.index.find(index_path(BIG_INDEX_CRATE))
    assert small is not None
    assert large is not None
    assert small.content.length < 250
    assert large.content.length > 100_000


def test_cksum_of_every_line_is_that_of_the_crate(filled: Filled) -> None:
    checked = 0
    for name in filled.registry.closure(ROOT):
        for line in filled.lines(name)[-3:]:
            content = filled.crate(line["name"], line["vers"])
            assert hashlib.sha256(content).hexdigest() == line["cksum"]
            checked += 1
    assert checked > 130


def test_crate_unpacks_below_name_and_version(filled: Filled) -> None:
    content = io.BytesIO(filled.crate("plusmeta", "1.0.0+build.5"))
    with tarfile.open(fileobj=content) as archive:
        assert "plusmeta-1.0.0+build.5/Cargo.toml" in archive.getnames()


def test_crates_range_from_small_to_heavy(filled: Filled) -> None:
    assert len(filled.crate(SMALLEST_CRATE, "1.0.0")) < 1024
    assert len(filled.crate(HEAVY_CRATE, "1.0.0")) > 2_000_000


def test_optional_dependency_uses_the_second_feature_map(filled: Filled) -> None:
    line = filled.lines("optional-parts")[-1]
    assert line["v"] == 2
    assert any(parts[0].startswith("dep:") for parts in line["features2"].values())


@pytest.mark.full
def test_seed_decides_the_graph() -> None:
    one, other = Filled(), Filled()
    assert one.lines(ROOT) == other.lines(ROOT)
    names = [spec.name for spec in first_crates(2)]
    assert names != [spec.name for spec in first_crates(1)]


def test_yank_changes_the_index_and_keeps_the_crate() -> None:
    filled = Filled()
    assert filled.registry.yank(YANKED_CRATE, "1.1.0", yanked=True, at=2000)
    assert filled.lines(YANKED_CRATE)[-1]["yanked"] is True
    assert filled.crate(YANKED_CRATE, "1.1.0")
    assert not filled.registry.yank(YANKED_CRATE, "9.9.9", yanked=True, at=2000)


def test_deletion_removes_everything_and_frees_the_name() -> None:
    filled = Filled()
    before = filled.crate(DELETABLE_CRATE, "1.0.0")
    assert filled.registry.delete(DELETABLE_CRATE)
    assert filled.index.find(index_path(DELETABLE_CRATE)) is None
    assert filled.crates.find(crate_path(DELETABLE_CRATE, "1.0.1")) is None
    assert not filled.registry.delete(DELETABLE_CRATE)
    other = PackageSpec(name=DELETABLE_CRATE, version="1.0.0", payload=b"other")
    filled.registry.publish([other], 3000)
    assert filled.crate(DELETABLE_CRATE, "1.0.0") != before


def test_publish_keeps_the_former_index_file_as_former_generation() -> None:
    filled = Filled()
    depends = [Dependency(name="q")]
    filled.registry.publish([PackageSpec(name="io", version="1.2.0", dependencies=depends)], 3000)
    published = filled.index.find(index_path("io"))
    assert published is not None
    assert published.former is not None
    assert published.last_modified_at == 3000
    assert filled.registry.versions("io")[-1] == "1.2.0"
