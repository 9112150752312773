"""What one program leaves to the next, as bytes and as descriptors."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.config import Config
from mirror.errors import ConfigError
from mirror.supervisor.fixed import fixed_values, keep_fixed, with_fixed
from mirror.supervisor.handover import (
    VARIABLE,
    HandedChild,
    HandedSocket,
    Handover,
    leave,
    taken_over,
)

NUMBERS = st.integers(0, 2**31)
SECONDS = st.floats(0, 1e9)
SOCKETS = st.tuples() | st.tuples(st.builds(HandedSocket, fd=NUMBERS, is_tls=st.booleans()))
CHILDREN = st.builds(
    HandedChild,
    pid=NUMBERS,
    lane=st.integers(-1, 128),
    slot=st.integers(-1, 256),
    ready_fd=NUMBERS,
    phase=st.sampled_from(("starting", "ready", "draining")),
    started_at=SECONDS,
    kill_at=st.none() | SECONDS,
    drain_s=SECONDS,
    end_signal=st.integers(1, 64),
)
HANDOVERS = st.builds(
    Handover,
    pid=NUMBERS,
    product_version=st.text(max_size=9),
    records=st.dictionaries(st.text(max_size=5), NUMBERS | st.text(max_size=5)),
    was_ready=st.booleans(),
    fixed=st.just(fixed_values(Config())),
    lock_fd=NUMBERS,
    inherited=SOCKETS,
    lanes=st.dictionaries(st.integers(0, 128), SOCKETS),
    control=st.lists(NUMBERS).map(tuple),
    children=st.lists(CHILDREN).map(tuple),
)
EMPTY = Handover(
    pid=1,
    product_version="1",
    records={"page": 2, "protocol": 4, "index": 7, "store": "a", "state": 3},
    was_ready=True,
    fixed={},
    lock_fd=0,
    inherited=(),
    lanes={},
    control=(),
    children=(),
)


@given(HANDOVERS)
def test_what_is_left_is_what_is_taken(handover: Handover) -> None:
    assert Handover.from_bytes(handover.to_bytes()) == handover


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="no-object"),
        pytest.param(b'{"handover": 2}', id="later-version"),
        pytest.param(b'{"handover": 1}', id="empty"),
        pytest.param(EMPTY.to_bytes().replace(b'"was_ready"', b'"was_steady"'), id="other-names"),
        pytest.param(EMPTY.to_bytes().replace(b'"children": []', b'"children": [1]'), id="child"),
    ],
)
def test_what_is_no_handover_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        Handover.from_bytes(content)


@pytest.mark.parametrize(
    ("name", "value", "is_seamless"),
    [("page", 3, False), ("protocol", 5, False), ("index", 8, False), ("state", 4, True)],
)
def test_children_live_beside_each_other_while_they_share_what_they_read(
    name: str, value: int, is_seamless: bool
) -> None:
    assert EMPTY.is_seamless(EMPTY.records)
    assert EMPTY.is_seamless({**EMPTY.records, name: value}) is is_seamless


def test_handover_is_found_once_and_its_descriptors_end_with_the_next_exec() -> None:
    read_fd, write_fd = os.pipe()
    os.set_inheritable(read_fd, True)
    left = replace(EMPTY, lock_fd=read_fd)
    fd, value = leave(left)
    assert os.get_inheritable(fd)
    environ = {VARIABLE: value}
    assert taken_over(environ) == left
    assert environ == {}
    assert taken_over(environ) is None
    assert not os.get_inheritable(read_fd)
    for each in (read_fd, write_fd):
        os.close(each)
    with pytest.raises(OSError):
        os.fstat(fd)


def test_handover_of_another_process_is_not_ours() -> None:
    assert taken_over({VARIABLE: f"{os.getpid() + 1}:0"}) is None


def test_handover_that_cannot_be_read_is_an_error_of_one_line() -> None:
    fd = os.memfd_create("wrong", 0)
    os.write(fd, json.dumps({"handover": 99}).encode())
    with pytest.raises(ConfigError, match="version 1"):
        taken_over({VARIABLE: f"{os.getpid()}:{fd}"})


def test_addresses_and_directories_stay_those_of_the_first_start() -> None:
    values = {**fixed_values(Config()), "serve.listen": ["127.0.0.1:1"], "store.path": "/elsewhere"}
    former = with_fixed(Config(), values)
    assert fixed_values(former) == values
    kept, differing = keep_fixed(Config(), former)
    assert sorted(differing) == ["serve.listen", "store.path"]
    assert kept.serve.listen == ("127.0.0.1:1",)
