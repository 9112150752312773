"""Clients that ask for many objects on kept connections, one request at a time on each.

Rules:
1. An answer that is no 200, or whose content has another digest than expected, is an error.

Runs in: benchmark.
"""

from __future__ import annotations

import hashlib
import http.client
import threading
from collections import deque
from collections.abc import Iterable, Mapping

DEADLINE_S = 60.0


class WrongAnswerError(RuntimeError):
    """A client was given something else than it expected."""


def ask_all(port: int, targets: Iterable[str] | Mapping[str, str], connections: int) -> int:
    """Ask for all of `targets` (with their sha256, in hex, where it is known); return how many.

    Raises WrongAnswerError.
    """
    expected = targets if isinstance(targets, Mapping) else dict.fromkeys(targets, "")
    waiting = deque(expected.items())
    wrong: list[str] = []
    threads = [
        threading.Thread(target=_ask, args=(port, waiting, wrong)) for _ in range(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise WrongAnswerError(f"{len(wrong)} wrong answers, the first: {wrong[0]}")
    return len(expected)


def _ask(port: int, waiting: deque[tuple[str, str]], wrong: list[str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        while True:
            try:
                target, digest = waiting.popleft()
            except IndexError:
                return
            connection.request("GET", target)
            answer = connection.getresponse()
            content = answer.read()
            is_other = digest and hashlib.sha256(content).hexdigest() != digest
            if answer.status != 200 or is_other:
                wrong.append(f"{target}: {answer.status}, {len(content)} bytes")
    except (OSError, http.client.HTTPException) as exc:
        wrong.append(repr(exc))
    finally:
        connection.close()
