"""Which stored objects stand for the rest: spatial sampling by hash, weighted by length.

Rules:
1. Whether an object is sampled depends on its key, its length and the scale alone, so all requests
   of one object are seen, or none (SHARDS, Waldspurger et al., FAST 2015).
2. At scale L an object of `size = length + EVEN_BYTES` is sampled with probability `size / L`, and
   surely when `size >= L`: what weighs in bytes is looked at itself, what is small stands for
   `weight` objects like it. Scale 0 samples everything.
3. Raising the scale only takes objects out: samples taken at two scales agree at the larger one.

A worker puts every served object into `Uses` while there is room. Where there is none it goes on
with those that `is_sampled`, and says what it left out (`uses.LeftOut`): the keeper then takes
`CROWDED_SCALE_BYTES` for its own scale.

Cost: `is_sampled` 0.1 us from `SURE_BYTES` on, below it 1.3 us.

Units: bytes.
Does not: keep what was sampled (`sampled_objects`).
Runs in: worker and keeper. Pure.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

# Added to every length, so that objects far below it are sampled evenly: the request hit ratio is
# theirs. About the mean length of what a mirror of crates and releases stores.
EVEN_BYTES: Final = 256 << 10
# The scale of workers that have more to tell than fits: a quarter of all small objects.
CROWDED_SCALE_BYTES: Final = 4 * EVEN_BYTES
SURE_BYTES: Final = CROWDED_SCALE_BYTES - EVEN_BYTES  # from this length on, always sampled then

_POSITIONS: Final = 1 << 64
_LIMIT_MAX: Final = (1 << 63) - 1  # beyond every scale; keeps limits within eight bytes


def is_sampled(key: str, length_bytes: int) -> bool:
    """Whether a worker that must leave something out keeps this object; `length_bytes` is the
    stored length, not what was sent."""
    return (
        length_bytes >= SURE_BYTES
        or limit_bytes(digest_of(key), length_bytes) >= CROWDED_SCALE_BYTES
    )


def digest_of(key: str) -> bytes:
    """Return what stands for a key: 8 bytes, of which a million objects hardly ever share one."""
    return blake2b(key.encode(), digest_size=8).digest()


def limit_bytes(digest: bytes, length_bytes: int) -> int:
    """Return the largest scale at which the object is sampled."""
    position = int.from_bytes(digest, "big")
    return min((length_bytes + EVEN_BYTES) * _POSITIONS // (position + 1), _LIMIT_MAX)


def weight(length_bytes: int, scale_bytes: int) -> float:
    """Return how many objects one that is sampled at `scale_bytes` stands for, itself included."""
    return max(1.0, scale_bytes / (length_bytes + EVEN_BYTES))
