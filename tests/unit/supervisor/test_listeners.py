"""Lanes of sockets: one port for all, a taken port is told, nothing is shared silently."""

from __future__ import annotations

import socket

import pytest

from mirror.addresses import parse_listen
from mirror.errors import ConfigError
from mirror.supervisor.listeners import Listeners, open_control


def test_lanes_have_own_sockets_on_one_port() -> None:
    listeners = Listeners([parse_listen("127.0.0.1:0"), parse_listen("[::1]:0")])
    try:
        lanes = [listeners.lane(number) for number in (0, 1, 1)]
        ports = [[sock.getsockname()[1] for sock in lane] for lane in lanes]
        assert ports[0] == ports[1] == ports[2]
        assert lanes[1] is lanes[2]
        assert len({sock.fileno() for lane in lanes[:2] for sock in lane}) == 4
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
        listeners = Listeners([parse_listen("127.0.0.1:1")], [given])
        assert listeners.lane(0) == listeners.lane(7) == [given]
        assert listeners.bound == [f"127.0.0.1:{given.getsockname()[1]}"]
        assert listeners.opened == 1
