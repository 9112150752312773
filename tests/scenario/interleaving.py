"""Random interleavings: clients that ask for a channel's three files while upstream flips it.

Rules:
1. A sequence asks for the three files in one of both orders (`.sha256` before or after `.toml`),
   with the `.asc` anywhere, each on a new connection, all from one address of 127.0.0.0/8 that no
   other sequence of the run has.
2. A stray sequence uses another address for each file: nothing can protect it. Strays show that a
   flip between two requests is seen as a mixed pair; without them "0 mixed" would prove nothing.
3. A flip lies inside a sequence only when other clients (probes, each of an address of its own) saw
   the former generation after the sequence's first answer had come, and the next one before its
   last request was sent.
4. A pair is mixed when the manifest's sha256 is not in the `.sha256`, or the `.asc` is not the one
   that upstream has for exactly this manifest.
5. Learned heads are answered from what was fresh when the second began, others from what is fresh
   now; both kinds are asked, so that a flip is seen within the round.
6. The same seed gives the same orders, gaps and flips; what the machine makes of them differs.

Units: seconds of the loop's clock.
Runs in: tests.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
import socket
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mirror.simulator.process import SimulatorProcess

FILES = {"toml": "", "sha256": ".sha256", "asc": ".asc"}
ORDERS = tuple(
    tuple(order)
    for pair in (["sha256", "toml"], ["toml", "sha256"])
    for place in range(3)
    for order in [[*pair[:place], "asc", *pair[place:]]]
)
CHANNELS = ("stable", "beta", "nightly")
STARTS_WITHIN_S = 0.3  # of a round; the flip becomes visible in the middle of it
LONGEST_GAP_S = 0.3
PROBE_EVERY_S = 0.01
STRAY_EVERY = 20
TORN_RATIO = 0.2
DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What upstream published: the digest of the manifest and the signature's text."""

    sha256: str
    asc: bytes


@dataclass(slots=True, kw_only=True)
class Asked:
    """One sequence: what it got, when its first answer was there and its last request sent."""

    channel: str
    order: Sequence[str]
    is_stray: bool
    statuses: list[int] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    first_answered_at: float = 0.0
    last_sent_at: float = 0.0


@dataclass(slots=True, kw_only=True)
class Flip:
    """When probes still saw the former generation, and when they first saw the next one."""

    old_sent_at: float = 0.0
    new_received_at: float = 0.0

    def lies_inside(self, asked: Asked) -> bool:
        return (
            asked.first_answered_at <= self.old_sent_at
            and self.new_received_at <= asked.last_sent_at
        )


@dataclass(slots=True, kw_only=True)
class Outcome:
    """The whole run."""

    sequences: int = 0
    inside: int = 0
    mixed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    strays_inside: int = 0
    strays_mixed: int = 0
    flips: int = 0
    torn: int = 0

    def __repr__(self) -> str:
        return (
            f"<Outcome {self.sequences} sequences, the flip inside {self.inside}, "
            f"{len(self.mixed)} mixed, {len(self.refused)} refused; {self.flips} flips, "
            f"{self.torn} torn; strays {self.strays_mixed} mixed of {self.strays_inside} inside>"
        )


class Interleavings:
    """Runs rounds: one flip of one channel with `each` sequences around it."""

    def __init__(self, port: int, simulator: SimulatorProcess, *, seed: int, each: int) -> None:
        self._port = port
        self._simulator = simulator
        self._random = random.Random(seed)
        self._each = each
        self._addresses = _addresses()
        self._numbers = itertools.count()
        self._generations: dict[str, Generation] = {}
        self.outcome = Outcome()

    async def run(self, rounds: int) -> Outcome:
        """Run that many rounds in each channel, the channels side by side."""
        await asyncio.gather(*(self._channel(name, rounds) for name in CHANNELS))
        return self.outcome

    async def _channel(self, channel: str, rounds: int) -> None:
        # Drawn before anything runs, so that side by side does not change what the seed says.
        seeds = [self._random.random() for _ in range(rounds)]
        current = await self._learn(channel, _head(channel))
        for seed in seeds:
            current = await self._round(channel, current, random.Random(seed))

    async def _round(self, channel: str, former: str, rng: random.Random) -> str:
        plans = [
            (rng.choice(ORDERS), rng.uniform(0, STARTS_WITHIN_S), number % STRAY_EVERY == 0)
            for number in range(self._each)
        ]
        sequences = [
            asyncio.ensure_future(
                self._sequence(channel, order, start, random.Random(rng.random()), is_stray)
            )
            for order, start, is_stray in plans
        ]
        flip = Flip()
        watching = asyncio.ensure_future(self._watch(channel, former, flip))
        await asyncio.sleep(rng.uniform(0, STARTS_WITHIN_S / 2))
        date, digest = await self._flip(channel, rng)
        asked = await asyncio.gather(*sequences)
        await watching
        learnt = await self._learn(channel, f"/dist/{date}/channel-rust-{channel}.toml")
        assert learnt == digest
        for item in asked:
            self._judge(item, flip)
        self.outcome.flips += 1
        return digest

    async def _flip(self, channel: str, rng: random.Random) -> tuple[str, str]:
        """Flip at once, or file by file in any order."""
        control = self._simulator.control
        if rng.random() >= TORN_RATIO:
            flipped = await asyncio.to_thread(control.flip, channel)
            return flipped["date"], flipped["sha256"]
        self.outcome.torn += 1
        names = list(FILES)
        rng.shuffle(names)
        flipped = await asyncio.to_thread(control.flip, channel, held_back=names)
        for name in names:
            await asyncio.sleep(rng.uniform(0, 0.02))
            await asyncio.to_thread(control.settle, channel, name)
        return flipped["date"], flipped["sha256"]

    async def _sequence(
        self,
        channel: str,
        order: Sequence[str],
        start: float,
        rng: random.Random,
        is_stray: bool,
    ) -> Asked:
        asked = Asked(channel=channel, order=order, is_stray=is_stray)
        address = next(self._addresses)
        await asyncio.sleep(start)
        loop = asyncio.get_running_loop()
        for number, name in enumerate(order):
            if number:
                await asyncio.sleep(rng.uniform(0, LONGEST_GAP_S))
                address = next(self._addresses) if is_stray else address
            asked.last_sent_at = loop.time()
            status, content = await self._get(_head(channel) + FILES[name], address)
            asked.first_answered_at = asked.first_answered_at or loop.time()
            asked.statuses.append(status)
            asked.files[name] = content
        return asked

    async def _watch(self, channel: str, former: str, flip: Flip) -> None:
        """Probe until somebody new is given the next generation."""
        loop = asyncio.get_running_loop()
        path = _head(channel) + FILES["sha256"]
        end_at = loop.time() + DEADLINE_S
        while not flip.new_received_at:
            sent_at = loop.time()
            status, content = await self._get(path, next(self._addresses))
            if status == 200 and content[:64].decode() == former:
                flip.old_sent_at = sent_at
            elif status == 200:
                flip.new_received_at = loop.time()
            assert loop.time() < end_at, f"{channel}: no client sees the flip"
            await asyncio.sleep(PROBE_EVERY_S)

    async def _learn(self, channel: str, path: str) -> str:
        """Note what upstream has at `path` as a generation; return its digest."""
        url = self._simulator.releases_url + path
        text = await asyncio.to_thread(_read, url)
        digest = hashlib.sha256(text).hexdigest()
        asc = await asyncio.to_thread(_read, f"{url}.asc")
        self._generations[digest] = Generation(sha256=digest, asc=asc)
        return digest

    def _judge(self, asked: Asked, flip: Flip) -> None:
        outcome = self.outcome
        is_inside = flip.lies_inside(asked)
        if asked.statuses != [200, 200, 200]:
            outcome.refused.append(f"{asked.channel} {asked.order} {asked.statuses}")
            return
        is_mixed = self._is_mixed(asked.files)
        if asked.is_stray:
            outcome.strays_inside += is_inside
            outcome.strays_mixed += is_mixed
            return
        outcome.sequences += 1
        outcome.inside += is_inside
        if is_mixed:
            outcome.mixed.append(f"{asked.channel} {'→'.join(asked.order)} inside={is_inside}")

    def _is_mixed(self, files: Mapping[str, bytes]) -> bool:
        digest = hashlib.sha256(files["toml"]).hexdigest()
        generation = self._generations.get(digest)
        return (
            generation is None
            or files["sha256"][:64].decode() != digest
            or files["asc"] != generation.asc
        )

    def _request(self, path: str) -> bytes:
        """Every other one has a field of its own, so that no worker has learned its head."""
        number = next(self._numbers)
        own = f"X-Request-Id: {number}\r\n" if number % 2 else ""
        fields = f"Host: mirror.example\r\nConnection: close\r\n{own}"
        return f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode()

    async def _get(self, path: str, address: str) -> tuple[int, bytes]:
        """Ask on a connection of its own from `address`; return status and whole content."""
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.bind((address, 0))
            async with asyncio.timeout(DEADLINE_S):
                await loop.sock_connect(sock, ("127.0.0.1", self._port))
                await loop.sock_sendall(sock, self._request(path))
                received = b""
                while piece := await loop.sock_recv(sock, 1 << 16):
                    received += piece
        head_bytes, _, content = received.partition(b"\r\n\r\n")
        return _checked_status(head_bytes, content), content


def _checked_status(head: bytes, content: bytes) -> int:
    """Return the status; 0 for an answer that is not whole."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and int(value) == len(content):
            return int(head.split(b" ", 2)[1])
    return 0


def _addresses() -> Iterator[str]:
    """Yield every host address of 127.0.0.0/8 but the first 256, once."""
    for number in range(256, 1 << 24):
        if number & 0xFF not in (0, 0xFF):
            yield f"127.{number >> 16}.{number >> 8 & 0xFF}.{number & 0xFF}"


def _head(channel: str) -> str:
    return f"/dist/channel-rust-{channel}.toml"


def _read(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=DEADLINE_S) as response:
        content: bytes = response.read()
    return content
