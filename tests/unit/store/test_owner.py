"""Claiming a store: errors say which of the two directories is meant, and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.store.files import RealFiles
from mirror.store.layout import Layout
from mirror.store.owner import claim


@pytest.mark.parametrize("noun", ["store", "state"])
def test_unusable_directory_is_told_by_its_noun_and_key(tmp_path: Path, noun: str) -> None:
    (tmp_path / "file").touch()
    paths = {"store": str(tmp_path / "store"), "state": str(tmp_path / "state")}
    paths[noun] = str(tmp_path / "file" / "x")
    with pytest.raises(StoreError) as caught:
        claim(RealFiles(), Layout(root=paths["store"]), paths["state"])
    assert caught.value.message == f"{noun} {paths[noun]}: Not a directory"
    assert caught.value.hint == f"name a directory that this user can write: --set {noun}.path=…"


def test_owned_state_directory_is_told_as_state(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    owned = claim(RealFiles(), Layout(root=str(tmp_path / "one")), state)
    try:
        with pytest.raises(StoreError, match=f"^state {state}/.*another running mirror"):
            claim(RealFiles(), Layout(root=str(tmp_path / "two")), state)
    finally:
        owned.release()
