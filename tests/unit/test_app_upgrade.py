"""`mirror.app_upgrade`: what keeps a program from taking over, told before anything is given up."""

from __future__ import annotations

import json

import pytest

from mirror.app_upgrade import RECORDS, try_handover
from mirror.config import Config
from mirror.errors import ConfigError, StoreError
from mirror.store.state import STATE_VERSION


def _refused() -> Config:
    raise ConfigError("serve.no_such_key", "1", "a key that exists")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        pytest.param({"store": "mirror store 22"}, "mirror store 22", id="other-store"),
        pytest.param({"state": STATE_VERSION + 1}, "has version", id="newer-state"),
    ],
)
def test_program_that_does_not_keep_what_is_there_is_refused(
    changed: dict[str, str | int], words: str
) -> None:
    with pytest.raises(StoreError, match=words) as refusal:
        try_handover(Config, json.dumps(RECORDS | changed))
    assert refusal.value.hint


def test_refused_configuration_is_told_by_the_trial() -> None:
    with pytest.raises(ConfigError, match="no_such_key"):
        try_handover(_refused, json.dumps(RECORDS))
