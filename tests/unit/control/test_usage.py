"""What a process takes, as the kernel tells it."""

from __future__ import annotations

import os
import time

import pytest

from mirror.control.usage import usage_of


def test_usage_of_this_process_is_what_the_library_says() -> None:
    end_at = time.process_time() + 0.05
    while time.process_time() < end_at:
        pass
    usage = usage_of(os.getpid())
    assert usage is not None
    assert usage.cpu_s == pytest.approx(time.process_time(), abs=0.2)
    assert 10 << 20 < usage.resident_bytes < 10 << 30


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1])
def test_nobody_takes_nothing(pid: int) -> None:
    assert usage_of(pid) is None
