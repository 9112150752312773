"""Requests to the running mirror's control socket: look at something, or have it done.

Runs in: commands.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Callable
from typing import Any

from mirror.child import CONTROL_SOCKET
from mirror.errors import StoreError

_TIMEOUT_S = 5.0
_ACT_TIMEOUT_S = 600.0  # between two lines of an answer; one step of the store takes milliseconds


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float = _TIMEOUT_S) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._timeout_s = timeout_s
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(self._path)


def ask_control(state_path: str, target: str) -> dict[str, Any] | None:
    """Return the answer's JSON; None when nobody answers on the socket.

    Raises: StoreError when the socket may not be used, or answers with an error.
    """
    path = os.path.join(state_path, CONTROL_SOCKET)
    connection = _UnixConnection(path)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        content = response.read()
    except PermissionError as exc:
        raise _forbidden(path) from exc
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if response.status != 200:
        raise StoreError(path, content.decode(errors="replace").strip())
    answer: dict[str, Any] = json.loads(content)
    return answer


def tell_control(
    state_path: str, target: str, wish: dict[str, Any], show: Callable[[int], None]
) -> dict[str, Any] | None:
    """Have something done and return its last line; None when nobody listens on the socket.

    `show` gets the progress. Raises: StoreError when the socket may not be used, or when the answer
    breaks off: then it is not known how far it came.
    """
    path = os.path.join(state_path, CONTROL_SOCKET)
    connection = _UnixConnection(path, _ACT_TIMEOUT_S)
    try:
        try:
            connection.connect()
        except PermissionError as exc:
            raise _forbidden(path) from exc
        except OSError:
            return None
        try:
            connection.request("POST", target, json.dumps(wish))
            return _last_line(path, connection.getresponse(), show)
        except (OSError, ValueError, http.client.HTTPException) as exc:
            hint = "say it again: what was done stays done"
            raise StoreError(path, f"the answer broke off: {exc}", hint=hint, noun="state") from exc
    finally:
        connection.close()


def _last_line(
    path: str, response: http.client.HTTPResponse, show: Callable[[int], None]
) -> dict[str, Any]:
    if response.status not in (200, 400, 409):
        sentence = response.read().decode(errors="replace").strip()
        raise StoreError(path, sentence or f"answered {response.status}", noun="state")
    for text in response:
        line: dict[str, Any] = json.loads(text)
        if "progress" not in line:
            return line
        show(int(line["progress"]))
    raise http.client.IncompleteRead(b"")


def _forbidden(path: str) -> StoreError:
    hint = "run it as root or as the mirror's user"
    return StoreError(path, "may not be used by this user", hint=hint, noun="state")
