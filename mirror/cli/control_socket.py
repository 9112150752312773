"""One request to the running mirror's control socket.

Runs in: commands.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from typing import Any

from mirror.child import CONTROL_SOCKET
from mirror.errors import StoreError

_TIMEOUT_S = 5.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
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
        hint = "run it as root or as the mirror's user"
        raise StoreError(path, "may not be used by this user", hint=hint, noun="state") from exc
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if response.status != 200:
        raise StoreError(path, content.decode(errors="replace").strip())
    answer: dict[str, Any] = json.loads(content)
    return answer
