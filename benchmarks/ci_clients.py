"""Clients that live a planned day against a running mirror, in the time that is given to it.

Rules:
1. A job begins at its time of the compressed day, or as soon as a client is free.
2. What fails is asked again as cargo and rustup do, with a pause, until it is answered or
   `GIVE_UP_S` have passed; each try has its receipt.
3. A conditional request names the entity tag that any runner was last given for the target; where
   none is known yet the request is plain.
4. Each runner has an address of its group, from 127.0.0.0/8, so that the mirror can tell groups.

Runs in: benchmarks, tests.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.ci_connections import AtOnce, BrokenError, Door, OneByOne, Question
from benchmarks.ci_receipts import Receipt, Receipts
from benchmarks.ci_traffic import DAY_S, Ask, Job, Phase, Transport

GIVE_UP_S = 20.0
_PAUSE_S = 0.1
_SECURED = (Transport.TLS, Transport.TLS_HTTP2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The mirror's ports; `trust` is what TLS clients verify it with (None: there are none).

    `fields_of_group` are sent with every request of a group, as a proxy before it would add them.
    """

    port: int
    tls_port: int = 0
    trust: Callable[[], ssl.SSLContext] | None = None
    fields_of_group: Sequence[dict[str, str]] = ()


def network_of(group: int) -> str:
    """Return the network that a group's runners have their addresses in."""
    return f"127.{10 + group}.0.0/16"


def live(
    jobs: Sequence[Job],
    place: Place,
    receipts: Receipts,
    *,
    day_in_s: float,
    clients: int = 6,
) -> None:
    """Drive the jobs, in the order of the plan; return when the last one has ended."""
    crowd = _Crowd(jobs, place, receipts, day_in_s)
    with ThreadPoolExecutor(clients) as pool:
        for running in [pool.submit(crowd.work) for _ in range(clients)]:
            running.result()


class _Crowd:
    """What the clients share."""

    def __init__(
        self, jobs: Sequence[Job], place: Place, receipts: Receipts, day_in_s: float
    ) -> None:
        self.receipts = receipts
        self._place = place
        self._tags: dict[str, str] = {}
        self._jobs = iter(jobs)
        self._lock = threading.Lock()
        self._began_at = time.monotonic()
        self._compression = day_in_s / DAY_S
        self._contexts: dict[Transport, ssl.SSLContext] = {}
        for transport in _SECURED:
            if place.trust is not None:
                self._contexts[transport] = place.trust()
        if place.trust is not None:
            self._contexts[Transport.TLS_HTTP2].set_alpn_protocols(["h2"])

    def work(self) -> None:
        while (job := self._next()) is not None:
            begins_at = self._began_at + job.at_s * self._compression
            time.sleep(max(0.0, begins_at - time.monotonic()))
            for phase in job.phases:
                self._live_phase(job, phase)

    def _next(self) -> Job | None:
        with self._lock:
            return next(self._jobs, None)

    def _live_phase(self, job: Job, phase: Phase) -> None:
        missing = [self._question(job, ask) for ask in phase.asks]
        until = time.monotonic() + GIVE_UP_S
        while missing:
            if time.monotonic() > until:
                for question in missing:
                    self.receipts.gave_up(question.target)
                return
            if not self._ask(job, phase, missing):
                time.sleep(_PAUSE_S)

    def _ask(self, job: Job, phase: Phase, missing: list[Question]) -> bool:
        """Ask on one connection; take what is answered from `missing`; return whether it shrank."""
        door, count = self._door(job), len(missing)
        # rustup never offers the upgrade, and where ALPN gives it HTTP/2 it has one stream each.
        is_multiplexed = job.transport is Transport.TLS_HTTP2 or (
            job.transport is Transport.UPGRADE and phase.keeps_connection
        )
        try:
            connection = AtOnce(door) if is_multiplexed else OneByOne(door)
        except OSError:
            return False
        try:
            for receipt in connection.ask_all(missing[: None if phase.keeps_connection else 1]):
                self.receipts.add(receipt)
                self._settle(receipt, missing)
        except BrokenError as broken:
            for receipt in broken.receipts:
                self.receipts.add(receipt)
        finally:
            if (counted := connection.close()) is not None:
                self.receipts.closed(counted)
        return len(missing) < count

    def _settle(self, receipt: Receipt, missing: list[Question]) -> None:
        if receipt.entity_tag and receipt.status == 200:
            self._tags[receipt.target] = receipt.entity_tag
        if receipt.status >= 500:
            return  # asked again
        for place, question in enumerate(missing):
            if question.target == receipt.target and question.method == receipt.method:
                del missing[place]
                return

    def _question(self, job: Job, ask: Ask) -> Question:
        fields = {"User-Agent": ask.agent, "Accept": "*/*", **self._fields_of(job.group)}
        tag = self._tags.get(ask.item.target, "") if ask.is_conditional else ""
        if tag:
            fields["If-None-Match"] = tag
        if ask.range_start is not None:
            fields["Range"] = f"bytes={ask.range_start}-"
        return Question(
            method=ask.method,
            target=ask.item.target,
            fields=fields,
            abandon_after=ask.abandon_after,
        )

    def _fields_of(self, group: int) -> dict[str, str]:
        given = self._place.fields_of_group
        return given[group] if group < len(given) else {}

    def _door(self, job: Job) -> Door:
        is_secured = job.transport in _SECURED
        place = self._place
        return Door(
            group=job.group,
            source=f"127.{10 + job.group}.{job.runner // 250 % 250}.{job.runner % 250 + 1}",
            port=place.tls_port if is_secured else place.port,
            context=self._contexts[job.transport] if is_secured else None,
        )
