"""Lanes of sockets: one port for all, a taken port is told, nothing is shared silently."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from mirror.addresses import parse_listen
from mirror.errors import ConfigError
from mirror.supervisor.listeners import (
    FIRST_INHERITED_FD,
    Listeners,
    Listening,
    inherited_sockets,
    open_control,
)


def test_lanes_have_own_sockets_on_one_port() -> None:
    listeners = Listeners([parse_listen("127.0.0.1:0"), parse_listen("[::1]:0")])
    try:
        lanes = [listeners.lane(number) for number in (0, 1, 1)]
        ports = [[item.sock.getsockname()[1] for item in lane] for lane in lanes]
        assert ports[0] == ports[1] == ports[2]
        assert lanes[1] is lanes[2]
        assert len({item.sock.fileno() for lane in lanes[:2] for item in lane}) == 4
        assert listeners.bound == [f"127.0.0.1:{ports[0][0]}", f"[::1]:{ports[0][1]}"]
    finally:
        listeners.close()


def test_second_mirror_of_the_same_user_cannot_share_a_port_silently() -> None:
    listeners = Listeners([parse_listen("127.0.0.1:0")])
    try:
        with pytest.raises(ConfigError, match="taken") as caught:
            Listeners([parse_listen(listeners.bound[0])])
        assert caught.value.key == "serve.listen"
        assert caught.value.value == listeners.bound[0]
        with pytest.raises(ConfigError, match=r"control\.listen.*taken"):
            open_control(parse_listen(listeners.bound[0]))
    finally:
        listeners.close()


def test_foreign_address_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="does not have that address"):
        Listeners([parse_listen("192.0.2.1:0")])


def test_inherited_sockets_belong_to_every_lane() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        inherited = Listening(sock=given)
        listeners = Listeners([parse_listen("127.0.0.1:1")], [inherited])
        assert listeners.lane(0) == listeners.lane(7) == [inherited]
        assert listeners.bound == [f"127.0.0.1:{given.getsockname()[1]}"]
        assert listeners.opened == 1


def test_lane_holds_plaintext_and_tls_each_on_its_own_port() -> None:
    listeners = Listeners([parse_listen("127.0.0.1:0")], tls=[parse_listen("127.0.0.1:0")])
    try:
        lanes = [listeners.lane(number) for number in (0, 1)]
        assert [[item.is_tls for item in lane] for lane in lanes] == [[False, True]] * 2
        assert [lanes[1][0].name] == listeners.bound
        assert [lanes[1][1].name] == listeners.bound_tls
        assert listeners.bound != listeners.bound_tls
    finally:
        listeners.close()


def test_taken_tls_address_names_its_key() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigError, match="taken") as caught:
            Listeners([], tls=[parse_listen(taken)])
        assert caught.value.key == "serve.tls_listen"


_PRINT_INHERITED = """
import os
from mirror.supervisor.listeners import inherited_sockets
os.environ["LISTEN_PID"] = str(os.getpid())
print([item.is_tls for item in inherited_sockets(os.environ)], "LISTEN_FDNAMES" in os.environ)
"""


@pytest.mark.parametrize(
    ("names", "are_tls"),
    [
        ("http:https:tls-admin:TLS", [False, True, True, True]),
        ("rust-mirror.socket", [False, False, False, False]),
        ("", [False, False, False, False]),
        ("a:b:c:https", [False, False, False, True]),
    ],
)
def test_inherited_sockets_are_told_apart_by_their_names(names: str, are_tls: list[bool]) -> None:
    """Descriptors 3 and up are given as a service manager gives them: in a process of its own."""
    given = [socket.create_server(("127.0.0.1", 0)) for _ in are_tls]
    numbers = [sock.fileno() for sock in given]
    moves = ";".join(
        f"os.dup2({fd}, {FIRST_INHERITED_FD + at + 40})" for at, fd in enumerate(numbers)
    )
    back = ";".join(
        f"os.dup2({FIRST_INHERITED_FD + at + 40}, {FIRST_INHERITED_FD + at})"
        for at in range(len(numbers))
    )
    program = f"import os;{moves};{back}\n{_PRINT_INHERITED}"
    environment = {**os.environ, "LISTEN_FDS": str(len(given)), "LISTEN_FDNAMES": names}
    try:
        printed = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            pass_fds=numbers,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        for sock in given:
            sock.close()
    assert printed.stdout == f"{are_tls} False\n", printed.stderr


def test_sockets_for_another_process_are_not_taken() -> None:
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "https"}
    assert inherited_sockets(environment) == []
    assert environment == {}
