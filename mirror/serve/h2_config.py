"""The limits of an HTTP/2 connection, as `[serve.http2]` says them.

Rules:
1. An operator names what is allowed at once; it is given back evenly over the seconds below, which
   are chosen so that no honest client that was measured comes near.

Units: bytes, seconds.
Runs in: worker. Pure.
"""

from __future__ import annotations

from typing import Final

from mirror.config import Http2
from mirror.http.h2_limits import Limits, Rate

WASTED_STREAMS_S: Final = 30.0  # a cancelled `cargo fetch` resets its 100 streams, once
CONTROL_FRAMES_S: Final = 10.0
WINDOW_UPDATES_S: Final = 4.0
EMPTY_FRAMES_S: Final = 10.0
FIELD_BYTES_S: Final = 1.0


def limits_of(http2: Http2) -> Limits:
    return Limits(
        max_streams=http2.max_streams,
        max_list_bytes=int(http2.max_field_list),
        wasted_streams=_rate(http2.max_wasted_streams, WASTED_STREAMS_S),
        controls=_rate(http2.max_control_frames, CONTROL_FRAMES_S),
        grants=_rate(http2.max_window_updates, WINDOW_UPDATES_S),
        empties=_rate(http2.max_empty_frames, EMPTY_FRAMES_S),
        block_bytes=_rate(int(http2.max_field_bytes), FIELD_BYTES_S),
    )


def _rate(burst: int, refilled_in_s: float) -> Rate:
    return Rate(burst=burst, per_s=burst / refilled_in_s)
